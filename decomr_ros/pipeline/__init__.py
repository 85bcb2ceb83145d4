"""From images to meshes: the worker queue, the pipeline, the background detector."""
