"""The commands that act on the CloudFormation stacks of a stage."""
