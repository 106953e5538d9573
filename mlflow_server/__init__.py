"""The MLflow server of the `mlflow` image: basic authentication, Postgres, proxied artifacts."""
