"""The commands for the CloudFormation stacks of a stage."""
