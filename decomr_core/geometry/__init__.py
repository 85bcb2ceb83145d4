"""Crops, cameras and lenses; which surface a pixel shows. No bodies and no networks."""
