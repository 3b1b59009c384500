"""OpenVINO IR: written, and read back."""
