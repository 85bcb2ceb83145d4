"""Comparison of results: losses, evaluation metrics, and parity of runtimes."""
