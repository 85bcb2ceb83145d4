"""People rendered on the fly: who they are, how they are drawn, in which processes."""
