"""The node's parameters and their declaration."""
