"""Exports networks to ONNX, OpenVINO and TensorRT, and compares the exports with PyTorch."""
