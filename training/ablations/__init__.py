"""Results of an ablation, and the report of them."""
