"""The training loop: configuration, data, losses of a step, run folder."""
