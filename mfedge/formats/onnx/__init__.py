"""ONNX: written, and read back."""
