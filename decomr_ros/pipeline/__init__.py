"""From images to meshes."""
