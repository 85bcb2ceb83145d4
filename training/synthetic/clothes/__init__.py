"""What rendered people wear: garments, folds, painted outfits."""
