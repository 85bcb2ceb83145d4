"""Poses and shapes of rendered people, by rule or recorded."""
