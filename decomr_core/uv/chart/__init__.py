"""Builds the UV map of a body offline: landmarks, seams, and the flattened half body."""
