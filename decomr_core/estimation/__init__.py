"""What the estimator is made of: the loaded network, the detectors, and the checks of a mesh."""
