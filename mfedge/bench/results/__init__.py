"""From raw samples to statements."""
