"""Paths on disk: the project, and the folders of SageMaker's container contract."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""The checkout, or the folder of an image that the packages were copied to."""

SAGEMAKER_MODEL_DIR = Path("/opt/ml/model")
"""Where SageMaker puts the model for a serving container, and collects that of a training job."""
