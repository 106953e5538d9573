"""Fixtures for trainings that are cut off."""

import shutil
from pathlib import Path

import pytest

from contract.settings.loader import load_settings
from tests.durability.grid import GRIDS, Board, board
from tests.helpers import train_in_process, write_settings, write_tables


@pytest.fixture
def folder(folder: Path) -> Path:
    """The folder with a grid in which all three families share work."""
    write_settings(folder, **GRIDS)
    return folder


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Board:
    """The leaderboard of a training that nothing disturbed."""
    root = tmp_path_factory.mktemp("unbroken")
    (root / ".local").mkdir()
    shutil.copy(empty_store, root / ".local/mlflow.db")
    write_tables(root)
    return board(train_in_process(load_settings(write_settings(root, **GRIDS))).as_json())
