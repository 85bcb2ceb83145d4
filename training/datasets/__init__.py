"""Data sets: what the trainer learns from, and what it is measured on."""
