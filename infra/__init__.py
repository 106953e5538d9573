"""The CDK app: the AWS resources for training and serving."""
