"""From images to meshes: the worker queue, the stages, the background detector."""
