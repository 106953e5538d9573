"""What commands on this machine share: the local MLflow server and the container images."""
