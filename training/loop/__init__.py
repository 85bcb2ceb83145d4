"""The training loop: its config, its data, one step, and the run folder."""
