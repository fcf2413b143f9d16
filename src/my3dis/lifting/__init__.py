"""From tracked masks to 3D instances; pure algorithms."""
