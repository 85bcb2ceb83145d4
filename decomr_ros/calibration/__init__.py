"""The camera's calibration and the checks of its plausibility."""
