"""Writes the files that runtimes run (ONNX, OpenVINO, TensorRT) and compares them with PyTorch."""
