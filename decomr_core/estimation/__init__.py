"""Parts of the estimator: loading of networks, detectors, placing and checks of meshes."""
