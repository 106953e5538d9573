"""The MLflow stack: the MLflow server on Fargate, its database, and the bastion."""
