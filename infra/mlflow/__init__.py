"""The MLflow stack: the tracking server on Fargate, and its database."""
