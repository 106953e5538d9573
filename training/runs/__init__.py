"""MLflow runs: one parent run per training, one child run per combination."""
