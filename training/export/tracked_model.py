"""A tracked model with what its release is made from: the rows and settings of its training."""

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
from contract.settings.loader import Settings
from contract.settings.sections import DataSettings
from training.data.tables import PANDAS_DTYPES, read_table
from training.families import Family, load_family
from training.family_registry import FAMILIES
from training.runs.logged_tables import TABLES_FILE, load_logged_tables, read_logged_tables
from training.runs.mlflow_client import TrackingClient
from training.runs.tags import WINNER_RUN_ID_TAG

COPIES = ("train.csv", "val.csv", "test.csv")
"""The artifacts with the tables, unless they are too large."""
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class TrackedModel:
    """The model of a tracked combination, and the data that it was trained and evaluated on."""

    run: Run
    parent_run: Run
    family: Family
    pipeline: Pipeline
    data: DataSettings
    """The settings of its training."""
    required: frozenset[str]
    """The columns without missing values in training."""
    tables: dict[str, pd.DataFrame]
    """`train`, `val` and, if there is one, `test`: the features, and the label last."""

    def features(self, table: str) -> pd.DataFrame:
        """Return the features of a table."""
        return self.tables[table].drop(columns=self.data.label)

    def labels(self, table: str) -> "pd.Series[float]":
        """Return the labels of a table."""
        return self.tables[table][self.data.label]


def resolve_run_id(tracking: TrackingClient, model: str | None) -> str:
    """Return the id of the run that has a model.

    Args:
        tracking: The tracking store.
        model: `runs:/<id>/model`, `models:/<name>/<version-or-alias>`, or None for the winner of
            the latest training.

    Raises:
        ReleaseError: The text is not a model URI, or nothing is trained yet.
        TrackingError: The run, version or alias doesn't exist.
    """
    with tracking.errors():
        if model is None:
            return _latest_winner(tracking)
        scheme, _, rest = model.partition(":/")
        first, _, second = rest.replace("@", "/").partition("/")
        if scheme == "runs" and first and second in {"", "model"}:
            return str(tracking.client.get_run(first).info.run_id)
        if scheme == "models" and first and second:
            by_version = tracking.client.get_model_version
            by_alias = tracking.client.get_model_version_by_alias
            return str((by_version if second.isdigit() else by_alias)(first, second).run_id)
    expected = "runs:/<id>/model or models:/<name>/<version-or-alias>"
    raise ReleaseError(f"{model}: not a model URI; use {expected}")


def load_tracked_model(tracking: TrackingClient, run_id: str, settings: Settings) -> TrackedModel:
    """Load the model of a run, with what the release needs of its training.

    Args:
        tracking: The tracking store.
        run_id: The run of a combination.
        settings: This process's settings, which know the tables that were downloaded.

    Raises:
        ReleaseError: The run has no model of one of this project's families, or a table that was
            not logged has changed or can't be read.
        TrackingError: The tracking store fails, or an artifact is lost.
    """
    client = tracking.client
    with tracking.errors(), tempfile.TemporaryDirectory() as scratch:
        run = client.get_run(run_id)
        parent_id = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
        family = run.data.params.get("family", "")
        outputs = run.outputs.model_outputs if run.outputs else []
        if not parent_id or family not in FAMILIES or len(outputs) != 1:
            raise ReleaseError(f"run {run_id} has no model of this project's families")
        folder = Path(scratch)
        parent_run = client.get_run(parent_id)
        uri = client.get_logged_model(outputs[0].model_id).artifact_location
        model_folder = mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=str(folder / "model"), tracking_uri=tracking.uri
        )
        pipeline = mlflow.sklearn.load_model(model_folder)
        inputs = Model.load(model_folder).signature.inputs.inputs
        client.download_artifacts(parent_id, SETTINGS_FILE, str(folder))
        data = _load_data_settings((folder / SETTINGS_FILE).read_bytes(), parent_id)
        dtypes = {column.name: PANDAS_DTYPES[column.type.name] for column in inputs}
        artifacts = {artifact.path for artifact in client.list_artifacts(parent_id)}
        if TABLES_FILE in artifacts:
            client.download_artifacts(parent_id, TABLES_FILE, str(folder))
            logged = load_logged_tables(folder / TABLES_FILE)
            tables = read_logged_tables(logged, settings.model_copy(update={"data": data}))
        else:
            copies = [name for name in COPIES if name in artifacts]
            for name in copies:
                client.download_artifacts(parent_id, name, str(folder))
            tables = {Path(name).stem: _read(folder / name, dtypes, data) for name in copies}
        tables = {name: _convert(rows, dtypes, data) for name, rows in tables.items()}
    required = frozenset(column.name for column in inputs if column.required)
    return TrackedModel(run, parent_run, load_family(family), pipeline, data, required, tables)


def _latest_winner(tracking: TrackingClient) -> str:
    # A comparison with a tag matches only runs that have the tag, whatever the operator.
    query = f"attributes.status = 'FINISHED' and tags.`{WINNER_RUN_ID_TAG}` != ''"
    for run in tracking.search_runs(query):
        return str(run.data.tags[WINNER_RUN_ID_TAG])
    raise ReleaseError("nothing is trained yet in this experiment; run: make train")


def _load_data_settings(content: bytes, parent_id: str) -> DataSettings:
    try:
        return DataSettings.model_validate(json.loads(content)["data"])
    except (ValueError, KeyError, ValidationError):
        raise ReleaseError(f"run {parent_id}: its settings.json is not valid") from None


def _read(file: Path, dtypes: dict[str, str], data: DataSettings) -> pd.DataFrame:
    """Read a table that the tracker wrote, with the text columns of the training."""
    text = [name for name, dtype in dtypes.items() if dtype == "str"]
    return read_table(str(file), data.missing_values, text).rows


def _convert(rows: pd.DataFrame, dtypes: dict[str, str], data: DataSettings) -> pd.DataFrame:
    """Return the columns of the training with their types, and the label last."""
    # Missing values that only the test table has turn a column of integers into floats.
    actual = {
        name: "float64" if dtype == "int64" and rows[name].isna().any() else dtype
        for name, dtype in dtypes.items()
    }
    return rows[[*dtypes, data.label]].astype(actual).reset_index(drop=True)
