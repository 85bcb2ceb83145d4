"""One annotated or rendered person, and batches of them, independent of the source."""
