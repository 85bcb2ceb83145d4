"""Surroundings of rendered people: backgrounds, textures, light, cameras."""
