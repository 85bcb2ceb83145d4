"""The runtime for TensorRT: engine, its key, and what runs it."""
