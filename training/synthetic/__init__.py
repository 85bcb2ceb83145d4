"""Rendered people, live or from files: sampling, rendering, worker processes."""
