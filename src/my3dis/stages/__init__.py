"""The six steps of a run, one module each, in the order in which they run."""
