"""Training, evaluation and data sets: run from the checkout with `python -m training.NAME`."""
