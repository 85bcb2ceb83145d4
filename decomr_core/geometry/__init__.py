"""Crops, cameras and lenses; which surface a pixel shows; drawing. No bodies and no networks."""
