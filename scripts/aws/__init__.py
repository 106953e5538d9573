"""What commands on AWS share: the account, the CDK, costs, images, and access to MLflow."""
