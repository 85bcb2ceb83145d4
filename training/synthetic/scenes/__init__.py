"""What is around rendered people: surroundings, textures, light, and the camera."""
