"""Fixtures for all rooms: a clean environment, settings in a folder, and one whole training."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract.settings import PROJECT, Settings, load
from tests.project import Recorder, write_settings
from training.train import Result, train

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Whatever the developer's shell says of settings, MLflow or AWS says nothing here."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("STACK_", "MLFLOW_", "AWS_")):
            del os.environ[name]
    os.environ.update(QUIET)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a settings.toml for Ames' first 200 rows and Ridge alone."""
    rows = pd.read_csv(PROJECT / "data/train.csv", keep_default_na=False, dtype=str)
    rows.head(200).to_csv(tmp_path / "train.csv", index=False)
    test = pd.read_csv(PROJECT / "data/test.csv", keep_default_na=False, dtype=str)
    test.head(50).to_csv(tmp_path / "test.csv", index=False)
    prices = pd.read_csv(PROJECT / "data/test_prices.csv")
    prices.to_csv(tmp_path / "test_prices.csv", index=False)
    write_settings(tmp_path)
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return load(folder / "settings.toml")


@pytest.fixture(scope="session")
def ames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Result, Recorder]:
    """The project's own settings and data, the whole grid, tracked in a folder of its own."""
    root = tmp_path_factory.mktemp("ames")
    for name in ("data", "settings.toml"):
        (root / name).symlink_to(PROJECT / name)
    text = (PROJECT / "settings.toml").read_text()
    (root / "settings.toml").unlink()
    (root / "settings.toml").write_text(text)
    settings, recorder = load(root / "settings.toml"), Recorder()
    return settings, train(settings, recorder), recorder


@pytest.fixture
def change(folder: Path) -> Any:
    """Rewrite the folder's settings with some keys changed, and load them."""

    def rewrite(**tables: dict[str, Any]) -> Settings:
        write_settings(folder, **tables)
        return load(folder / "settings.toml")

    return rewrite
