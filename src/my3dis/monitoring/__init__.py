"""What a run costs: memory and time."""
