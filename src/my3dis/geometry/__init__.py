"""Cameras, rigid transforms, depth images and points; pure functions on arrays."""
