"""What the node publishes: meshes, pictures, markers, points, frames."""
