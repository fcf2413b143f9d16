"""Show runs to a person on this machine: an index, the reports, the files; nothing is ever written."""
