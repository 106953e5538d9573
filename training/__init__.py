"""From a table to tracked runs: split, features, the families' grids, the record in MLflow."""
