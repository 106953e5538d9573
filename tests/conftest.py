"""Fixtures for all packages: a clean environment, settings in a folder, and one whole training."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from scripts.aws.cdk import NODE
from tests.helpers import Recorder, train_in_process, write_settings, write_tables
from tests.registry import Registry, running_registry
from training.result import TrainingResult
from training.runs.mlflow_client import TrackingClient

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}

# Not in a fixture: test modules import onnxruntime and the CDK, which read these when loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("JSII_NODE", str(NODE))


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Remove the developer's own variables for settings, MLflow and AWS."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("STACK_", "MLFLOW_", "AWS_")):
            del os.environ[name]
    os.environ.update(QUIET)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def no_tracking_uri() -> Iterator[None]:
    """Reset the tracking URI: MLflow writes it to the environment, where settings read it."""
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to create."""
    root = tmp_path_factory.mktemp("store")
    TrackingClient(load_settings(write_settings(root, training={"experiment": "another"})))
    return root / ".local/mlflow.db"


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path) -> Path:
    """A folder with an empty store, and settings for Ridge on the first 200 rows of Ames."""
    (tmp_path / ".local").mkdir()
    shutil.copy(empty_store, tmp_path / ".local/mlflow.db")
    write_tables(tmp_path)
    write_settings(tmp_path)
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return load_settings(folder / "settings.toml")


@pytest.fixture(scope="session")
def ames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, TrainingResult, Recorder]:
    """The whole grid, trained with the project's own settings and data in a folder of its own."""
    root = tmp_path_factory.mktemp("ames")
    (root / "data").symlink_to(PROJECT_ROOT / "data")
    shutil.copy(PROJECT_ROOT / "settings.toml", root)
    settings, recorder = load_settings(root / "settings.toml"), Recorder()
    return settings, train_in_process(settings, recorder), recorder


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry, and this environment's container engine configured to use it."""
    with (
        running_registry(tmp_path_factory.mktemp("registry")) as registry,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in registry.environment.items():
            patch.setenv(name, value)
        yield registry


@pytest.fixture
def change(folder: Path) -> Any:
    """A function that changes keys of the folder's settings and loads them."""

    def rewrite(**sections: dict[str, Any]) -> Settings:
        write_settings(folder, **sections)
        return load_settings(folder / "settings.toml")

    return rewrite
