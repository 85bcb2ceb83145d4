"""The PyTorch runtime, on a CPU or a GPU."""
