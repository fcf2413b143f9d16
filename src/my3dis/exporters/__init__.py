"""Other formats for results, one module each."""
