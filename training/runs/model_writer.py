"""Saving fitted pipelines as MLflow model folders: the scikit-learn flavor, without pickle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
import yaml
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from sklearn.pipeline import Pipeline

from contract.errors import FamilyError
from training.data.dataset import Split
from training.data.features import TRUSTED_TYPES
from training.data.tables import COLUMN_TYPES
from training.families import Family
from training.runs.skops_file import read_type_names, write_skops_file

REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
"""What every model needs to be loaded and to predict; a family adds its own."""
EXAMPLE_ROWS = 3
MODEL_FILE = "model.skops"


@dataclass
class _Template:
    """A family's model folder, which MLflow wrote and checked, to be reused for each model."""

    folder: Path
    metadata: Model
    """The content of MLmodel."""
    type_names: set[bytes]
    """The names of all types and functions in the model."""


class ModelWriter:
    """Writes the pipelines of one split; what they have in common is prepared once."""

    def __init__(self, data_split: Split, scratch: Path) -> None:
        """Infer the signature from all training and validation rows.

        Args:
            data_split: The training and validation rows.
            scratch: A folder to write in.
        """
        prediction = Schema([TensorSpec(np.dtype(np.float64), (-1,))])
        inputs = infer_schema(data_split.X_train, data_split.X_val)
        self._signature = ModelSignature(inputs, prediction)
        self._example = data_split.X_train.head(EXAMPLE_ROWS)
        self._scratch = scratch
        self._templates: dict[Family, _Template] = {}

    def write(self, pipeline: Pipeline, family: Family, model: LoggedModel) -> Path:
        """Write a model folder, which is valid until the next one is written.

        A family's first model is written and checked by MLflow. Later ones differ in two of the
        files, and a check would find nothing new as long as they consist of the same types.

        Args:
            pipeline: From raw rows to predictions, fitted.
            family: Names the models' requirements and the types that skops may trust.
            model: MLflow's logged model, whose id the folder contains.

        Raises:
            FamilyError: The model can't be saved without pickle.
        """
        template = self._templates.get(family)
        if template:
            file = template.folder / MODEL_FILE
            previous_size = file.stat().st_size
            write_skops_file(pipeline, file)
            if read_type_names(file) <= template.type_names:
                template.metadata.model_size_bytes += file.stat().st_size - previous_size
                _write_metadata(template, model)
                return template.folder
        template = self._write_in_full(pipeline, family, model)
        self._templates[family] = template
        return template.folder

    def _write_in_full(self, pipeline: Pipeline, family: Family, model: LoggedModel) -> _Template:
        folder = self._scratch / model.model_id
        metadata = Model()
        _set_ids(metadata, model)
        try:
            mlflow.sklearn.save_model(
                pipeline,
                str(folder),
                mlflow_model=metadata,
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
                skops_trusted_types=[*TRUSTED_TYPES, *family.trusted_types],
                signature=self._signature,
                input_example=self._example,
                pip_requirements=pinned_requirements(family.requirements),
            )
        except mlflow.MlflowException as error:
            reason = error.message.split("Root error: ")[-1].splitlines()[0]
            advice = "trusted_types can list them" if "trusted" in reason else "not saved"
            raise FamilyError(f"{type(family).__name__}: {reason} ({advice})") from error
        return _Template(folder, metadata, read_type_names(folder / MODEL_FILE))


def infer_schema(*parts: pd.DataFrame) -> Schema:
    """Return the schema of a table's parts, of the four types that tables are read as.

    It is what MLflow infers by looking at each value, which takes longer than fitting if there are
    many rows. A column without missing values is required: MLflow refuses rows without it.
    """
    optional = np.any([part.isna().any() for part in parts], axis=0)
    columns = zip(parts[0].items(), optional, strict=True)
    return Schema(
        [
            ColSpec(DataType[COLUMN_TYPES[str(column.dtype)]], str(name), required=not missing)
            for (name, column), missing in columns
        ]
    )


def pinned_requirements(requirements: Sequence[str]) -> list[str]:
    """Return the requirements of a model, pinned to the installed versions.

    Args:
        requirements: The family's own; only the first one that is installed is used.
    """
    return [f"{name}=={version(name)}" for name in [*REQUIREMENTS, *_installed(requirements)]]


def _write_metadata(template: _Template, model: LoggedModel) -> None:
    metadata = template.metadata
    metadata.utc_time_created = str(datetime.now(UTC).replace(tzinfo=None))
    _set_ids(metadata, model)
    # As `Model.save` does, but by the YAML encoder that is written in C.
    text = yaml.dump(metadata.to_dict(), Dumper=yaml.CSafeDumper)
    (template.folder / "MLmodel").write_text(text)


def _set_ids(metadata: Model, model: LoggedModel) -> None:
    """Set which of MLflow's logged models a model folder is."""
    metadata.artifact_path, metadata.run_id = model.artifact_location, model.source_run_id
    metadata.model_uuid = metadata.model_id = model.model_id


def _installed(names: Sequence[str]) -> list[str]:
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return [name]
    return []
