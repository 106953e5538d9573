"""From a tracked model to a release: export to ONNX, parity check, registration, storage.

The release is written to MLflow's registry first and to the release store last. If a crash
interrupts that, the next call completes the release, under the same version.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
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
from training.runs.tags import DATA_DIGEST_TAG

logger = logging.getLogger(__name__)

MODEL_CARD_FILE = "model_card.md"
CHECK_ROWS = 20
CHALLENGER, CHAMPION = "challenger", "champion"
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")
PANDAS = "pandas<3"
"""MLflow's own server passes a table's columns to onnxruntime unchanged, which fails on pandas 3's
text columns."""


@dataclass(frozen=True)
class ExportedModel:
    """A model in the form in which it is released, before it has a version."""

    tracked: TrackedModel
    content: bytes
    """The graph with one input per column, as an ONNX file."""
    packed: bytes
    """The graph with one input per column type."""
    graph: OnnxModel
    """The loaded graph of `content`."""
    columns: Sequence[Column]
    max_difference: float
    """The largest relative difference to the predictions of the scikit-learn pipeline."""

    def metrics(self, table: str) -> Metrics:
        """Return the metrics of the graph's own predictions on a table."""
        predictions = self.graph.predict(self.tracked.features(table))
        return eval_metrics(self.tracked.labels(table), predictions)


def release(
    settings: Settings, model: str | None = None, images: Mapping[str, str] | None = None
) -> Release:
    """Release a tracked model. A model that is already released isn't exported again.

    Args:
        settings: The tracking store, the release store, the name of the registered model, and the
            tables that were downloaded.
        model: `runs:/<id>/model` or `models:/<name>/<version-or-alias>`; by default the winner of
            the latest training.
        images: The digests of the images that belong to the release, for its manifest.

    Returns:
        The release, loaded from the release store.

    Raises:
        ReleaseError: The model isn't one of this project's, or its ONNX export predicts
            differently.
        TrackingError: The tracking store fails, or has no such model.
    """
    tracking = TrackingClient(settings)
    run_id = resolve_run_id(tracking, model)
    root = settings.resolve_path(settings.release.store)
    store = ReleaseStore(root, settings.release.model)
    registry = _Registry(tracking, settings.release.model)
    registered = registry.find_version(run_id)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "release"
        if registered and str(registered.version) in store.list_versions():
            logger.info("Run %s is already released", run_id)
            version = registered
            stored = store.download(str(version.version), folder)
        else:
            exported = _export(load_tracked_model(tracking, run_id, settings))
            version = registered or registry.create_version(run_id)
            _write(exported, settings, version, images or {}, folder)
            registry.upload(version, folder)
            stored = store.add(folder)
    registry.set_aliases(version)
    if store.get_champion() is None:
        store.promote(stored.manifest.version)
    return stored


def _export(tracked: TrackedModel) -> ExportedModel:
    """Export a model to ONNX, and check parity."""
    run_id = tracked.run.info.run_id
    logger.info("Exporting the model of run %s to ONNX", run_id)
    X = tracked.features("train")
    try:
        content, packed = (
            export_onnx(tracked.pipeline, tracked.family, X, tracked.data.missing_values, packed)
            for packed in (False, True)
        )
        columns = describe_columns(tracked.pipeline, X, tracked.required)
    except Exception as error:  # the pipeline of another version of this project fails in any way
        reason = f"the export to ONNX failed: {error_summary(error)}"
        raise ReleaseError(f"run {run_id}: {reason}") from error
    graph = OnnxModel(content)
    tables = {name: tracked.features(name) for name in tracked.tables}
    difference = check_parity(graph, OnnxModel(packed, columns), tracked.pipeline, tables, columns)
    rows = sum(len(table) for table in tables.values())
    logger.info("Parity checked on %d rows: the largest difference is %.0e", rows, difference)
    return ExportedModel(tracked, content, packed, graph, columns, difference)


def _write(
    exported: ExportedModel,
    settings: Settings,
    version: ModelVersion,
    images: Mapping[str, str],
    folder: Path,
) -> None:
    """Write the release's folder, the manifest last."""
    tracked = exported.tracked
    _save_model(exported, folder)
    (folder / PACKED_FILE).write_bytes(exported.packed)
    (folder / CHECK_FILE).write_text(_check_rows(exported))
    manifest = _create_manifest(exported, settings, version, folder)
    manifest = manifest.model_copy(update={"images": images})
    rows = {name: len(table) for name, table in tracked.tables.items()}
    (folder / MODEL_CARD_FILE).write_text(render_model_card(manifest, rows))
    manifest = manifest.model_copy(update={"files": list_files(folder)})
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    load_release(folder)


def _save_model(exported: ExportedModel, folder: Path) -> None:
    """Write the folder of an MLflow model."""
    signature = ModelSignature(
        infer_schema(*(exported.tracked.features(name) for name in ("train", "val"))),
        Schema([TensorSpec(np.dtype(np.float32), (-1,), PREDICTION)]),
    )
    mlflow.onnx.save_model(
        onnx.load_from_string(exported.content),
        str(folder),
        signature=signature,
        pip_requirements=[*(f"{name}=={version_of(name)}" for name in REQUIREMENTS), PANDAS],
        save_as_external_data=False,
    )
    # MLflow serializes the graph again: these are the bytes whose parity was checked.
    (folder / MODEL_FILE).write_bytes(exported.content)


def _create_manifest(
    exported: ExportedModel, settings: Settings, version: ModelVersion, folder: Path
) -> Manifest:
    tracked = exported.tracked
    params, tags = tracked.run.data.params, tracked.parent_run.data.tags
    created_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Manifest(
        model=settings.release.model,
        version=str(version.version),
        created_at=created_at.isoformat(timespec="seconds"),
        run_id=tracked.run.info.run_id,
        family=params["family"],
        params={key: _parse_param(text) for key, text in params.items() if key != "family"},
        validation_metrics=exported.metrics("val"),
        test_metrics=exported.metrics("test") if "test" in tracked.tables else None,
        data_digest=tags[DATA_DIGEST_TAG],
        git_commit=tags.get(MLFLOW_GIT_COMMIT),
        mlflow_version=version_of("mlflow"),
        label=tracked.data.label,
        missing_values=tracked.data.missing_values,
        columns=tuple(exported.columns),
        files=list_files(folder),
    )


def _check_rows(exported: ExportedModel) -> str:
    """Return rows with their predictions, which a deployment checks before it goes live."""
    X = exported.tracked.features("val").head(CHECK_ROWS)
    rows = json.loads(X.to_json(orient="records", double_precision=15))
    predictions = [float(value) for value in exported.graph.predict(X)]
    return json.dumps({"rows": rows, "predictions": predictions}, indent=1)


def _parse_param(text: str) -> bool | int | float | str | None:
    """Return the value of a parameter, which MLflow stores as text."""
    constants = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


class _Registry:
    """The model's versions in MLflow's registry."""

    def __init__(self, tracking: TrackingClient, name: str) -> None:
        self._tracking, self._client, self._name = tracking, tracking.client, name

    def find_version(self, run_id: str) -> ModelVersion | None:
        """Return the latest version of a run's model; None if it isn't registered."""
        with self._tracking.errors():
            query = f"name = '{self._name}' and run_id = '{run_id}'"
            versions = self._client.search_model_versions(query)
        return max(versions, key=lambda version: int(version.version), default=None)

    def create_version(self, run_id: str) -> ModelVersion:
        """Register a run's model as a new version, without files."""
        with self._tracking.errors():
            try:
                self._client.create_registered_model(self._name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            experiment_id = self._tracking.experiment.experiment_id
            model = self._client.create_logged_model(experiment_id, "release", run_id)
            return self._client.create_model_version(
                self._name, model.artifact_location, run_id, model_id=model.model_id
            )

    def upload(self, version: ModelVersion, folder: Path) -> None:
        """Upload the release's files as the artifacts of a version."""
        with self._tracking.errors():
            model_id = version.model_id or Path(version.source).parent.name
            self._client.log_model_artifacts(model_id, str(folder))
            self._client.finalize_logged_model(model_id, "READY")

    def set_aliases(self, version: ModelVersion) -> None:
        """Make a version the challenger; also the champion if there is none."""
        with self._tracking.errors():
            aliases = self._client.get_registered_model(self._name).aliases
            for alias in [CHALLENGER] if CHAMPION in aliases else [CHAMPION, CHALLENGER]:
                # A version is a string on a server, and a number in a local store.
                if str(aliases.get(alias)) != str(version.version):
                    self._client.set_registered_model_alias(self._name, alias, version.version)
