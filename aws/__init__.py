"""Access to a stage in an AWS account: credentials, the outputs of its stacks, prices."""
