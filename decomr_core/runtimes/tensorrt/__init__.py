"""The TensorRT runtime: plan with its key, engine, and runtime."""
