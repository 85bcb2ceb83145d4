"""The network in PyTorch itself, on a CPU or a GPU."""
