"""Accuracy of the distance between people and robot parts; see `__main__.py`."""
