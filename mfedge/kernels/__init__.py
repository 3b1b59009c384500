"""The native kernels: C++ sources, the built libraries, and the way to them from PyTorch."""
