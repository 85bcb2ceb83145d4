"""Outputs for robots: distances, velocities, obstacles."""
