"""Poses and shapes of rendered people, generated or recorded."""
