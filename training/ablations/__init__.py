"""Results of an ablation and their report."""
