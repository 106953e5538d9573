"""From a tracked model to a release, and the release in MLflow's own server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import training.release as module
from contract.errors import FamilyError, ReleaseError, TrackingError
from contract.release import PARITY_TOLERANCE, Release, load_release
from contract.release_store import ReleaseStore
from contract.settings.loader import Settings, load_settings
from endpoints.ports import find_free_port
from tests.helpers import Recorder, environment_for, train_in_process, write_settings
from training.export.parity import OnnxModel
from training.export.tracked_model import TrackedModel, load_tracked_model
from training.release import release
from training.result import TrainingResult
from training.runs.mlflow_client import TrackingClient

Ames = tuple[Settings, TrainingResult, Recorder]
OBJECT_TEXT = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""Text columns of dtype object, as in pandas 2, which a release requires of MLflow's own server."""


@pytest.fixture(scope="module")
def released(ames: Ames) -> tuple[Settings, Release, TrackedModel]:
    settings, _, _ = ames
    done = release(settings)
    tracked = load_tracked_model(TrackingClient(settings), done.manifest.run_id, settings)
    return settings, done, tracked


def test_winner_is_released_and_registered(ames: Ames, released: Any) -> None:
    settings, done, _ = released
    result = ames[1]
    manifest = done.manifest

    assert manifest.run_id == result.winner.run_id
    assert manifest.params == dict(result.winner.params)
    assert manifest.validation_metrics == pytest.approx(result.winner.metrics, rel=1e-6)
    assert manifest.test_metrics == pytest.approx(result.test_metrics, rel=1e-6)
    client = MlflowClient(settings.tracking_uri)
    for alias in ("challenger", "champion"):
        assert client.get_model_version_by_alias("house-prices", alias).version == 1
    store = ReleaseStore(settings.resolve_path(settings.release.store), "house-prices")
    assert store.get_champion() == "1"
    card = done.files["model_card.md"].decode()
    assert result.test_metrics is not None
    assert f"| test | 1,465 | {result.test_metrics['RMSE']:,.6g} |" in card


def test_registered_model_is_the_release(released: Any, tmp_path: Path) -> None:
    settings, done, _ = released
    mlflow.set_tracking_uri(settings.tracking_uri)

    folder = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/house-prices@champion", dst_path=str(tmp_path)
    )

    assert load_release(Path(folder)).digest == done.digest


def test_manifest_describes_the_columns(released: Any) -> None:
    columns = {column.name: column for column in released[1].manifest.columns}

    assert columns["1stFlrSF"].type == "long"
    assert columns["1stFlrSF"].required
    assert columns["LotFrontage"].type == "double"
    assert not columns["LotFrontage"].required
    assert columns["MSSubClass"].role == "numeric_category"
    assert "20" in columns["MSSubClass"].categories
    assert columns["PoolQC"].role == "text_category_with_missing"
    assert "" not in columns["PoolQC"].categories
    assert columns["LotFrontage"].profile.missing_fraction == pytest.approx(0.17, abs=0.05)
    assert len(columns["LotFrontage"].profile.quantiles) == 11


def test_releasing_again_returns_the_same_release(released: Any) -> None:
    settings, done, _ = released
    uri = f"runs:/{done.manifest.run_id}/model"

    for name in (None, uri, "models:/house-prices/1", "models:/house-prices/champion"):
        assert release(settings, name).digest == done.digest
    assert len(MlflowClient(settings.tracking_uri).search_model_versions()) == 1


@pytest.mark.parametrize("family", ["ridge", "elasticnet"])
def test_best_of_each_family_can_be_released(ames: Ames, family: str, tmp_path: Path) -> None:
    settings, result, _ = ames
    best = next(entry for entry in result.leaderboard if entry.family == family)
    other_store = settings.model_copy(
        update={
            "release": settings.release.model_copy(
                update={"store": str(tmp_path), "model": f"of-{family}"}
            )
        }
    )

    done = release(other_store, f"runs:/{best.run_id}/model")

    assert done.manifest.family == family
    assert done.manifest.validation_metrics == pytest.approx(best.metrics, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("runs:/0123456789abcdef0123456789abcdef/model", "0123456789abcdef0123456789abcdef"),
        ("models:/nothing/1", "nothing"),
        ("models:/house-prices/99", "99"),
        ("models:/house-prices/nobody", "nobody"),
        ("house-prices", "not a model URI"),
        ("runs:/x/other", "not a model URI"),
    ],
)
def test_unknown_model_is_reported_in_one_line(released: Any, model: str, reason: str) -> None:
    with pytest.raises((ReleaseError, TrackingError), match=reason) as error:
        release(released[0], model)
    assert "\n" not in str(error.value)


def test_parent_run_has_no_model(ames: Ames) -> None:
    with pytest.raises(ReleaseError, match="has no model"):
        release(ames[0], f"runs:/{ames[1].parent_run_id}/model")


def test_release_without_a_training_is_reported(settings: Settings) -> None:
    with pytest.raises(ReleaseError, match="nothing is trained yet"):
        release(settings)


def test_prediction_is_the_same_in_any_batch(released: Any) -> None:
    _, done, tracked = released
    graph = OnnxModel(done.files["model.onnx"])
    for table in tracked.tables:
        X = tracked.features(table)
        whole = graph.predict(X)
        for size in (1, 2, 7, 64):
            starts = range(0, len(X), size)
            parts = [graph.predict(X.iloc[start : start + size]) for start in starts]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.fixture
def server(released: Any, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` on the released folder."""
    _, done, _ = released
    for name, content in done.files.items():
        (tmp_path / "release" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / name).write_bytes(content)
    port = find_free_port()
    bin_folder = Path(sys.executable).parent
    command = ["models", "serve", "-m", str(tmp_path / "release"), "-p", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--env-manager", "local"],
        env=environment_for(tmp_path)
        | OBJECT_TEXT
        | {"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urlopen(f"{url}/ping", timeout=2).close()
            break
        except OSError:
            time.sleep(0.2)
    yield url
    process.terminate()
    process.wait(timeout=20)


def test_mlflow_models_serve_predicts_the_same(released: Any, server: str) -> None:
    """For rows with all columns and no null text, on which it fails for every model."""
    _, done, tracked = released
    X = tracked.features("val")
    text = X.select_dtypes("str").columns
    X = X.assign(**{name: X[name].fillna("NA") for name in text})
    body = json.dumps({"dataframe_split": json.loads(X.to_json(orient="split", index=False))})
    request = Request(f"{server}/invocations", body.encode(), {"Content-Type": "application/json"})

    with urlopen(request, timeout=60) as response:
        rows = json.load(response)["predictions"]

    actual = np.array([row["prediction"] for row in rows], np.float32)
    expected = OnnxModel(done.files["model.onnx"]).predict(tracked.features("val"))
    # Not equal to the last bit: MLflow's server sums the trees on several threads.
    np.testing.assert_allclose(actual, expected, rtol=PARITY_TOLERANCE)


@pytest.mark.filterwarnings("ignore:The 'future.infer_string'")
def test_mlflow_pyfunc_predicts_a_table_read_by_pandas(released: Any) -> None:
    settings, _, tracked = released
    mlflow.set_tracking_uri(settings.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/house-prices@challenger")
    file = settings.resolve_path("data/train.csv")
    with pd.option_context("future.infer_string", False):
        rows = pd.read_csv(file, keep_default_na=False, na_values=["NA"])

        predictions = model.predict(rows.drop(columns=["Id", "SalePrice"]))["prediction"]

    expected = tracked.pipeline.predict(rows)
    np.testing.assert_allclose(predictions, expected, rtol=PARITY_TOLERANCE)


def test_missing_whole_numbers_are_imputed_the_same(folder: Path) -> None:
    """Many donors are at the same distance: the graph and scikit-learn must use the same ones."""
    rng = np.random.default_rng(1)
    numbers = {f"n{i}": rng.integers(0, 4, 400).astype(float) for i in range(5)}
    table = pd.DataFrame(numbers).mask(rng.random((400, 5)) < 0.2)
    table["whole"] = rng.integers(0, 3, 400)
    table["label"] = 100 + sum(10 * i * column for i, column in enumerate(numbers.values()))
    table.to_csv(folder / "train.csv", index=False, na_rep="?")
    data: dict[str, Any] = {"test": "", "test_labels": "", "label": "label", "id": ""}
    data |= {"categorical": ["whole"], "missing_as_category": [], "missing_values": ["?"]}
    write_settings(folder, data=data, training={"families": ["ridge", "xgboost"]})
    settings = load_settings(folder / "settings.toml")
    result = train_in_process(settings)

    for entry in {entry.family: entry for entry in result.leaderboard}.values():
        done = release(settings, f"runs:/{entry.run_id}/model")

        assert done.manifest.test_metrics is None
        assert done.manifest.validation_metrics == pytest.approx(entry.metrics, rel=1e-5)


def test_category_named_na_is_kept(folder: Path) -> None:
    """If "NA" isn't in `data.missing_values`, it stays a category in the logged tables, too."""
    table = pd.DataFrame({"a": ["NA", "x", "y", None] * 50, "b": range(200)})
    table["label"] = 1000 + 10 * (table["a"] == "NA") + table["b"]
    table.to_csv(folder / "train.csv", index=False, na_rep="?")
    data = {"test": "", "test_labels": "", "label": "label", "id": "", "categorical": []}
    write_settings(folder, data=data | {"missing_as_category": [], "missing_values": ["?"]})
    settings = load_settings(folder / "settings.toml")
    train_in_process(settings)

    columns = {column.name: column for column in release(settings).manifest.columns}

    assert columns["a"].categories == ("NA", "x", "y")


class CrashError(Exception):
    """Interrupts a release."""


@pytest.mark.parametrize("step", ["_write", "upload", "add", "set_aliases"])
def test_interrupted_release_is_completed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    train_in_process(settings)
    owner = {"add": ReleaseStore, "_write": module}.get(step, module._Registry)

    def crash(*_: object) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, crash)
        with pytest.raises(CrashError):
            release(settings)
    done = release(settings)

    assert done.manifest.version == "1"
    store = ReleaseStore(settings.resolve_path(settings.release.store), "house-prices")
    assert store.list_versions() == ["1"]
    assert store.get_champion() == "1"
    client = MlflowClient(settings.tracking_uri)
    assert set(client.get_registered_model("house-prices").aliases) == {"challenger", "champion"}


def test_second_release_is_the_challenger(settings: Settings) -> None:
    result = train_in_process(settings)
    release(settings)

    second = release(settings, f"runs:/{result.leaderboard[1].run_id}/model")

    aliases = MlflowClient(settings.tracking_uri).get_registered_model("house-prices").aliases
    assert second.manifest.version == "2"
    assert aliases == {"champion": 1, "challenger": 2}
    store = ReleaseStore(settings.resolve_path(settings.release.store), "house-prices")
    assert store.get_champion() == "1"


def test_release_without_parity_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_process(settings)
    predict = OnnxModel.predict

    def predict_one_row_wrong(self: OnnxModel, X: pd.DataFrame) -> Any:
        predictions = predict(self, X)
        predictions[3] *= 1.0001
        return predictions

    monkeypatch.setattr(OnnxModel, "predict", predict_one_row_wrong)
    with pytest.raises(ReleaseError, match="row 4 of train: ONNX predicts"):
        release(settings)
    store = ReleaseStore(settings.resolve_path(settings.release.store), "house-prices")
    assert store.list_versions() == []
    assert MlflowClient(settings.tracking_uri).search_model_versions() == []


def test_family_without_export_fails_before_any_fit() -> None:
    """In another process, because the family is a custom one."""
    script = """
import sys
from sklearn.gaussian_process import GaussianProcessRegressor
from training.family_registry import FAMILIES
import training.families.ridge as ridge
from training.families.base import Family
from training.search.grid import FamilyGrid
from training.search.export_check import check_export

class Custom(Family):
    grid = {"alpha": (1.0,)}
    def model(self, params, seed):
        return Opaque(**params)

class Opaque(ridge.Ridge):
    pass

check_export(FamilyGrid("custom", Custom(), [{"alpha": 1.0}]), 1)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100
    )

    assert FamilyError.__name__ in done.stderr
    assert "grids.custom: its model can't be exported to ONNX" in done.stderr
