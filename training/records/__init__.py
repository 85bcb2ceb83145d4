"""One annotated or rendered person, and batches of them, whatever their source."""
