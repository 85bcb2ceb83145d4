"""Parts of the estimator: loading of networks, detectors, and checks of a mesh."""
