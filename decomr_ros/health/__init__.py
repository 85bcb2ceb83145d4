"""What the node says of its own state on /diagnostics."""
