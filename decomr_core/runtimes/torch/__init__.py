"""The runtime in PyTorch itself."""
