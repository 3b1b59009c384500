"""What stands on a backbone's features: one head per task."""
