"""Sources of candidate masks, one module (or package) each."""
