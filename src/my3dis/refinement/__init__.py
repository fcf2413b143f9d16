"""Progressive refinement from coarse to fine masks; pure algorithms."""
