"""What a release is made of: a tracked model, with the rows and settings of its training."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
import mlflow.sklearn
import pandas as pd
from mlflow.entities import Run
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pydantic import ValidationError
from sklearn.pipeline import Pipeline

from contract.errors import ReleaseError
from contract.settings.sections import DataSettings
from training.data.tables import PANDAS_DTYPES, read_table
from training.families import FAMILIES, Family, load_family
from training.runs.mlflow_client import TrackingClient


@dataclass(frozen=True)
class TrackedModel:
    """A tracked combination, and what it was trained and judged on."""

    run: Run
    parent: Run
    family: Family
    pipeline: Pipeline
    data: DataSettings
    """The settings that it was trained with."""
    required: frozenset[str]
    """The columns that never lacked a value."""
    tables: dict[str, pd.DataFrame]
    """train, val and, where there is one, test: features, and the label last."""

    def rows(self, name: str) -> pd.DataFrame:
        """Return the features of a table."""
        return self.tables[name].drop(columns=self.data.label)


def resolve_run_id(store: TrackingClient, model: str | None) -> str:
    """Return the id of the run that a person means.

    Args:
        store: The tracking store.
        model: `runs:/<id>/model`, `models:/<name>/<version-or-alias>`, or None for the winner of
            the latest training.

    Raises:
        ReleaseError: It is none of these.
        TrackingError: There is no such run, version or alias.
    """
    with store.errors():
        if model is None:
            for run in store.search("attributes.status = 'FINISHED' and tags.winner != 'true'"):
                if winner := run.data.tags.get("winner"):
                    return str(winner)
            raise ReleaseError("nothing is trained yet in this experiment: make train does it")
        scheme, _, rest = model.partition(":/")
        first, _, second = rest.replace("@", "/").partition("/")
        if scheme == "runs" and first and second in {"", "model"}:
            return str(store.client.get_run(first).info.run_id)
        if scheme == "models" and first and second:
            of_version = store.client.get_model_version
            of_alias = store.client.get_model_version_by_alias
            return str((of_version if second.isdigit() else of_alias)(first, second).run_id)
    raise ReleaseError(f"{model}: not a model; runs:/<id>/model or models:/<name>/<version> is")


def load_tracked_model(store: TrackingClient, run_id: str) -> TrackedModel:
    """Load a tracked combination with all that its release is proven by.

    Raises:
        ReleaseError: The run is no combination of one of this project's trainings.
        TrackingError: The store has lost a part of it.
    """
    with store.errors(), tempfile.TemporaryDirectory() as scratch:
        run = store.client.get_run(run_id)
        parent_id = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
        name = run.data.params.get("family", "")
        outputs = run.outputs.model_outputs if run.outputs else []
        if not parent_id or name not in FAMILIES or len(outputs) != 1:
            raise ReleaseError(f"run {run_id} holds no model of this project's families")
        folder = Path(scratch)
        parent = store.client.get_run(parent_id)
        model = store.client.get_logged_model(outputs[0].model_id).artifact_location
        place = mlflow.artifacts.download_artifacts(
            artifact_uri=model, dst_path=str(folder / "model"), tracking_uri=store.uri
        )
        pipeline = mlflow.sklearn.load_model(place)
        inputs = Model.load(place).signature.inputs.inputs
        names = {one.path for one in store.client.list_artifacts(parent_id)}
        wanted = [one for one in ("train", "val", "test") if f"{one}.csv" in names]
        for file in [*(f"{one}.csv" for one in wanted), "settings.json"]:
            store.client.download_artifacts(parent_id, file, str(folder))
        data = _data_settings((folder / "settings.json").read_bytes(), parent_id)
        types = {column.name: PANDAS_DTYPES[column.type.name] for column in inputs}
        tables = {one: _read(folder / f"{one}.csv", types, data) for one in wanted}
    required = frozenset(column.name for column in inputs if column.required)
    return TrackedModel(run, parent, load_family(name), pipeline, data, required, tables)


def _data_settings(content: bytes, parent_id: str) -> DataSettings:
    try:
        return DataSettings.model_validate(json.loads(content)["data"])
    except (ValueError, KeyError, ValidationError):
        raise ReleaseError(f"run {parent_id}: settings.json can't be read") from None


def _read(file: Path, types: dict[str, str], data: DataSettings) -> pd.DataFrame:
    """Read a table as the tracker wrote it, with the types of the training."""
    text = [name for name, kind in types.items() if kind == "str"]
    rows = read_table(str(file), data.missing_values, text).rows
    # A gap that only the test table has makes a whole-number column one of floats.
    fitting = {
        name: "float64" if kind == "int64" and rows[name].isna().any() else kind
        for name, kind in types.items()
    }
    return rows[[*types, data.label]].astype(fitting)
