"""Crops, cameras, lenses and rasterization; independent of bodies and networks."""
