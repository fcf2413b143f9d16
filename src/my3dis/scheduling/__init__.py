"""Many scenes: which ones, in which order, and what became of each."""
