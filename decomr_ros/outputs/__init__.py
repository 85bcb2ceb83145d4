"""The node's outputs: meshes, images, markers, points, frames."""
