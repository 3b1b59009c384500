"""What networks are for: what their outputs mean, and what it means that two of them agree."""
