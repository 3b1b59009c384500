"""TFLite: written, and read back."""
