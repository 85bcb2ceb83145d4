"""Furniture that fits the person on it."""
