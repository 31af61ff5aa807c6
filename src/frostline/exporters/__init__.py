"""Export of a run's model to one ONNX or PyTorch file, preprocessing included."""
