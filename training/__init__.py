"""Training: data preparation, grid search, MLflow tracking and ONNX export."""
