"""The node's parameters and how they are declared."""
