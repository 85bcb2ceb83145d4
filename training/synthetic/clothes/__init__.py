"""Clothes of rendered people: garments, folds, painted outfits."""
