"""Scores that people can trust."""
