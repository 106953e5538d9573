"""A training as a SageMaker training job: the entry point of the training image."""
