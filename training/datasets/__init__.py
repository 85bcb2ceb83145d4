"""Data sets for training and evaluation: photographs, mixtures, the registry of public sets."""
