"""A stage on AWS as a target: SageMaker trains there."""
