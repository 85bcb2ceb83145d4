"""How far one result is from another: losses, scores, and the parity of runtimes."""
