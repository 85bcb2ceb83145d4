"""The camera's calibration, and what is unlikely in it."""
