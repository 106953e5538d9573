"""Fixtures for trainings that are interrupted."""

import shutil
from pathlib import Path

import pytest

from contract.settings.loader import load_settings
from tests.durability.trainings import GRIDS, Leaderboard, leaderboard_of
from tests.helpers import train_in_process, write_settings, write_tables


@pytest.fixture
def folder(folder: Path) -> Path:
    """A folder with a grid in which all three families share work."""
    write_settings(folder, **GRIDS)
    return folder


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Leaderboard:
    """The leaderboard of a training that is not interrupted."""
    root = tmp_path_factory.mktemp("uninterrupted")
    (root / ".local").mkdir()
    shutil.copy(empty_store, root / ".local/mlflow.db")
    write_tables(root)
    settings = load_settings(write_settings(root, **GRIDS))
    return leaderboard_of(train_in_process(settings).as_json())
