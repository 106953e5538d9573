"""Saving a fitted pipeline as an MLflow model folder: the scikit-learn flavor, without pickle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import ZipFile

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
from training.runs.skops_file import SkopsWriter, type_names

REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
"""What every model needs to be loaded and asked; a family adds its own."""
EXAMPLE_ROWS = 3
MODEL_FILE = "model.skops"


@dataclass
class _Form:
    """A family's model folder, which MLflow wrote and checked, to be filled with each model."""

    folder: Path
    entry: Model
    type_names: set[str]
    """The names of all types and functions in it."""


class ModelWriter:
    """Writes the pipelines of one split; what they have in common is prepared once."""

    def __init__(self, split: Split, scratch: Path) -> None:
        """Take the schema from all the rows that were read, before any model is there.

        Args:
            split: The rows that the models are fitted on and compared on.
            scratch: An empty folder to write in.
        """
        prediction = Schema([TensorSpec(np.dtype(np.float64), (-1,))])
        self._signature = ModelSignature(infer_schema(split.X_train, split.X_val), prediction)
        self._example = split.X_train.head(EXAMPLE_ROWS)
        self._scratch = scratch
        self._archive = SkopsWriter()
        self._forms: dict[Family, _Form] = {}

    def write(self, pipeline: Pipeline, family: Family, model: LoggedModel) -> Path:
        """Write a model folder, which stays as it is until the next one is written.

        A family's first model is written and checked by MLflow. A later one differs in two of the
        files, and its check would find nothing new as long as it is made of the same types.

        Args:
            pipeline: From raw rows to predictions, fitted.
            family: Says what its models require and which of their types are to be trusted.
            model: MLflow's entry for it, whose name the folder carries.

        Raises:
            FamilyError: The model can't be saved without pickle.
        """
        form = self._forms.get(family)
        if form:
            before = (form.folder / MODEL_FILE).stat().st_size
            if self._archive.write(pipeline, form.folder / MODEL_FILE) <= form.type_names:
                form.entry.model_size_bytes += (form.folder / MODEL_FILE).stat().st_size - before
                form.entry.utc_time_created = str(datetime.now(UTC).replace(tzinfo=None))
                _name(form.entry, model)
                # As `Model.save` does, but by the parser that is written in C.
                text = yaml.dump(form.entry.to_dict(), Dumper=yaml.CSafeDumper)
                (form.folder / "MLmodel").write_text(text)
                return form.folder
        form = self._write_whole(pipeline, family, model)
        self._forms[family] = form
        return form.folder

    def _write_whole(self, pipeline: Pipeline, family: Family, model: LoggedModel) -> _Form:
        folder = self._scratch / model.model_id
        entry = Model()
        _name(entry, model)
        try:
            mlflow.sklearn.save_model(
                pipeline,
                str(folder),
                mlflow_model=entry,
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
                skops_trusted_types=[*TRUSTED_TYPES, *family.trusted_types],
                signature=self._signature,
                input_example=self._example,
                pip_requirements=pinned_requirements(family.requirements),
            )
        except mlflow.MlflowException as error:
            reason = error.message.split("Root error: ")[-1].splitlines()[0]
            advice = "its trusted_types may name them" if "trusted" in reason else "not saved"
            raise FamilyError(f"{type(family).__name__}: {reason} ({advice})") from error
        with ZipFile(folder / MODEL_FILE) as archive:
            return _Form(folder, entry, type_names(archive.read("schema.json").decode()))


def infer_schema(*parts: pd.DataFrame) -> Schema:
    """Return the schema of a table's parts, of the four types that a table is read as.

    It is what MLflow infers by a look at each value, which of many rows takes longer than fitting.
    A column without a gap is required: a request that lacks it is refused.
    """
    gaps = np.any([part.isna().any() for part in parts], axis=0)
    columns = zip(parts[0].items(), gaps, strict=True)
    return Schema(
        [
            ColSpec(DataType[COLUMN_TYPES[str(column.dtype)]], str(name), required=not gap)
            for (name, column), gap in columns
        ]
    )


def _name(entry: Model, model: LoggedModel) -> None:
    """Write into a model folder's entry which of MLflow's logged models it is."""
    entry.artifact_path, entry.run_id = model.artifact_location, model.source_run_id
    entry.model_uuid = entry.model_id = model.model_id


def pinned_requirements(requirements: Sequence[str]) -> list[str]:
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
