"""The MLflow server as its image runs it: with users, on Postgres, artifacts through itself."""
