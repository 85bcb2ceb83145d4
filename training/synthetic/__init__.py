"""People rendered on the fly."""
