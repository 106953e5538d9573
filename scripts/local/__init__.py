"""What the commands that act on this machine share: the local MLflow server."""
