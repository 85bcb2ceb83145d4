"""From an image to meshes: the loaded network, the detectors, and the estimator."""
