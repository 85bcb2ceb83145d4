"""The node's status on /diagnostics."""
