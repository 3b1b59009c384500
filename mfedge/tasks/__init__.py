"""What a network is for: one module per task."""
