"""ONNX graphs of encoders, from token ids to probabilities."""
