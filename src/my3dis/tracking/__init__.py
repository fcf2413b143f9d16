"""Identity: births, matches, sleep, wake and merges of tracked objects; pure algorithms."""
