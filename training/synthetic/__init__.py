"""People rendered on the fly: sampling, rendering, worker processes."""
