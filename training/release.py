"""From a tracked model to a release: an ONNX graph, proven, described, registered and stored.

MLflow's registry is written first and the release store last: a release that a crash has cut off is
completed by the next call, under the same version.
"""

import json
import logging
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow import MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from contract.errors import ReleaseError
from contract.release import (
    CHECK_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PACKED_FILE,
    PREDICTION,
    Column,
    Manifest,
    Release,
    list_files,
    load_release,
)
from contract.release_store import ReleaseStore
from contract.settings.loader import Settings
from training.export.columns import describe_columns
from training.export.model_card import render_model_card
from training.export.onnx_export import export_onnx
from training.export.parity import OnnxModel, check_parity
from training.export.tracked_model import TrackedModel, load_tracked_model, resolve_run_id
from training.families.base import error_summary
from training.metrics import Metrics, eval_metrics
from training.runs.mlflow_client import TrackingClient
from training.runs.model_writer import infer_schema

logger = logging.getLogger(__name__)

CARD = "model_card.md"
CHECK_ROWS = 20
CHALLENGER, CHAMPION = "challenger", "champion"
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")
PANDAS = "pandas<3"
"""MLflow's own server gives onnxruntime a table's columns as they are; it can't take pandas 3's."""


@dataclass(frozen=True)
class ExportedModel:
    """A model as it is released, before it has a version."""

    source: TrackedModel
    content: bytes
    packed: bytes
    """The same for a server."""
    graph: OnnxModel
    columns: list[Column]
    apart: float
    """The largest relative difference to scikit-learn's predictions."""

    def metrics(self, name: str) -> Metrics:
        """Return how good the graph's own predictions are on a table."""
        return eval_metrics(
            self.source.tables[name][self.source.data.label],
            self.graph.predict(self.source.rows(name)),
        )


def release(settings: Settings, model: str | None = None) -> Release:
    """Release a tracked model; one that is released already is returned as it is.

    Args:
        settings: Say where it is tracked, and what the release is called and where it is kept.
        model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>`; by default the winner of
            the latest training.

    Raises:
        ReleaseError: The model isn't one of this project's, or its ONNX form predicts otherwise.
        TrackingError: The tracking store fails, or has no such model.
    """
    tracking = TrackingClient(settings)
    run_id = resolve_run_id(tracking, model)
    place = settings.resolve_path(settings.release.store)
    releases = ReleaseStore(place, settings.release.model)
    registry = _Registry(tracking, settings.release.model)
    known = registry.version_of_run(run_id)
    if known and str(known.version) in releases.list_versions():
        logger.info("Run %s is released already", run_id)
        registry.settle(known)
        with tempfile.TemporaryDirectory() as scratch:
            done = releases.download(str(known.version), Path(scratch) / "release")
    else:
        logger.info("Exporting the model of run %s to ONNX", run_id)
        drawn = _draw(load_tracked_model(tracking, run_id))
        rows = sum(len(table) for table in drawn.source.tables.values())
        logger.info(
            "Parity checked on %d rows: the largest relative difference is %.0e", rows, drawn.apart
        )
        entry = known or registry.create(run_id)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "release"
            _write(drawn, settings, entry, folder)
            registry.upload(entry, folder)
            done = releases.add(folder)
        registry.settle(entry)
    if releases.get_champion() is None:
        releases.promote(done.manifest.version)
    return done


def _draw(source: TrackedModel) -> ExportedModel:
    X = source.rows("train")
    try:
        content, packed = (
            export_onnx(source.pipeline, source.family, X, source.data.missing_values, packed)
            for packed in (False, True)
        )
        columns = describe_columns(source.pipeline, X, source.required)
    except Exception as error:  # a pipeline of another make fails in any way
        run = source.run.info.run_id
        raise ReleaseError(f"run {run}: can't be drawn as ONNX: {error_summary(error)}") from error
    graph = OnnxModel(content)
    tables = {name: source.rows(name) for name in source.tables}
    apart = check_parity(graph, OnnxModel(packed, columns), source.pipeline, tables, columns)
    return ExportedModel(source, content, packed, graph, columns, apart)


def _write(drawn: ExportedModel, settings: Settings, entry: ModelVersion, folder: Path) -> None:
    """Write the release's folder, the manifest last."""
    source = drawn.source
    signature = ModelSignature(
        infer_schema(*(source.rows(name) for name in ("train", "val"))),
        Schema([TensorSpec(np.dtype(np.float32), (-1,), PREDICTION)]),
    )
    mlflow.onnx.save_model(
        onnx.load_from_string(drawn.content),
        str(folder),
        signature=signature,
        pip_requirements=[*(f"{name}=={version_of(name)}" for name in REQUIREMENTS), PANDAS],
        save_as_external_data=False,
    )
    # The very bytes that were proven.
    (folder / MODEL_FILE).write_bytes(drawn.content)
    (folder / PACKED_FILE).write_bytes(drawn.packed)
    (folder / CHECK_FILE).write_text(_check_rows(drawn))
    run, data = source.run, source.data
    params = {key: _plain(text) for key, text in run.data.params.items() if key != "family"}
    created = datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC)
    manifest = Manifest(
        model=settings.release.model,
        version=str(entry.version),
        created_at=created.isoformat(timespec="seconds"),
        run_id=run.info.run_id,
        family=run.data.params["family"],
        params=params,
        validation_metrics=drawn.metrics("val"),
        test_metrics=drawn.metrics("test") if "test" in source.tables else None,
        data_digest=source.parent.data.tags["data.digest"],
        git_commit=source.parent.data.tags.get(MLFLOW_GIT_COMMIT),
        mlflow_version=version_of("mlflow"),
        label=data.label,
        missing_values=data.missing_values,
        columns=tuple(drawn.columns),
        files=list_files(folder),
    )
    (folder / CARD).write_text(
        render_model_card(manifest, {name: len(table) for name, table in source.tables.items()})
    )
    manifest = manifest.model_copy(update={"files": list_files(folder)})
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    load_release(folder)


def _check_rows(drawn: ExportedModel) -> str:
    """Return some rows with their predictions, for a deployment to try before it goes live."""
    X = drawn.source.rows("val").head(CHECK_ROWS)
    rows = json.loads(X.to_json(orient="records", double_precision=15))
    predictions = [float(one) for one in drawn.graph.predict(X)]
    return json.dumps({"rows": rows, "predictions": predictions}, indent=1)


def _plain(text: str) -> bool | int | float | str | None:
    """Return a parameter as it was before MLflow made a text of it."""
    known = {"True": True, "False": False, "None": None}
    if text in known:
        return known[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class _Registry:
    """The model's versions in MLflow's registry."""

    def __init__(self, store: TrackingClient, name: str) -> None:
        self._store, self._client, self._name = store, store.client, name

    def version_of_run(self, run_id: str) -> ModelVersion | None:
        """Return the version that a run's model has, the latest where there are more."""
        with self._store.errors():
            query = f"name = '{self._name}' and run_id = '{run_id}'"
            found = self._client.search_model_versions(query)
        return max(found, key=lambda one: int(one.version), default=None)

    def create(self, run_id: str) -> ModelVersion:
        """Register a run's model as a new version, whose files are yet to come."""
        with self._store.errors():
            try:
                self._client.create_registered_model(self._name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            number = self._store.experiment.experiment_id
            model = self._client.create_logged_model(number, "release", run_id)
            return self._client.create_model_version(
                self._name, model.artifact_location, run_id, model_id=model.model_id
            )

    def upload(self, entry: ModelVersion, folder: Path) -> None:
        """Put the release's files into MLflow's own store."""
        with self._store.errors():
            model_id = entry.model_id or Path(entry.source).parent.name
            self._client.log_model_artifacts(model_id, str(folder))
            self._client.finalize_logged_model(model_id, "READY")

    def settle(self, entry: ModelVersion) -> None:
        """Make a version the challenger, and the champion where there is none."""
        with self._store.errors():
            aliases = self._client.get_registered_model(self._name).aliases
            for alias in [CHALLENGER] if CHAMPION in aliases else [CHAMPION, CHALLENGER]:
                # A version is a text on a server, and a number in a local store.
                if str(aliases.get(alias)) != str(entry.version):
                    self._client.set_registered_model_alias(self._name, alias, entry.version)
