"""Saving a fitted pipeline as an MLflow model folder: the scikit-learn flavour, without pickle."""

import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow.sklearn
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature, infer_signature
from sklearn.pipeline import Pipeline

from contract.errors import FamilyError
from training.data import Split
from training.families import Family
from training.features import TRUSTED_TYPES

REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
"""What every model needs to be loaded and asked; a family adds its own."""
EXAMPLE_ROWS = 3


class ModelWriter:
    """Writes the pipelines of one split; what they have in common is prepared once."""

    def __init__(self, split: Split) -> None:
        """Take the schema from all the rows that were read, before any model is there."""
        rows = pd.concat([split.X_train, split.X_val])
        with warnings.catch_warnings():
            # MLflow warns of whole-number columns, which may have gaps one day. Here a column
            # without a gap is required, and a request that lacks it is refused: that is meant.
            warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
            self._signature: ModelSignature = infer_signature(rows, split.y_train.to_numpy())
        self._example = split.X_train.head(EXAMPLE_ROWS)

    def write(self, pipeline: Pipeline, family: Family, model: LoggedModel, folder: Path) -> None:
        """Write the model folder.

        Args:
            pipeline: From raw rows to predictions, fitted.
            family: Says what its models require and which of their types are to be trusted.
            model: MLflow's entry for it, whose name the folder carries.
            folder: Where to; must not be there yet.

        Raises:
            FamilyError: The model can't be saved without pickle.
        """
        try:
            mlflow.sklearn.save_model(
                pipeline,
                str(folder),
                mlflow_model=Model(
                    artifact_path=model.artifact_location,
                    run_id=model.source_run_id,
                    model_uuid=model.model_id,
                    model_id=model.model_id,
                ),
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
                skops_trusted_types=[*TRUSTED_TYPES, *family.trusted_types],
                signature=self._signature,
                input_example=self._example,
                pip_requirements=pinned(family.requirements),
            )
        except mlflow.MlflowException as error:
            reason = error.message.split("Root error: ")[-1].splitlines()[0]
            advice = "its trusted_types may name them" if "trusted" in reason else "not saved"
            raise FamilyError(f"{type(family).__name__}: {reason} ({advice})") from error


def pinned(requirements: Sequence[str]) -> list[str]:
    """Return the requirements of a model at the versions that are installed here.

    Args:
        requirements: The family's own, of which the first that is installed counts.
    """
    return [f"{name}=={version(name)}" for name in [*REQUIREMENTS, *_installed(requirements)]]


def _installed(names: Sequence[str]) -> list[str]:
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return [name]
    return []
