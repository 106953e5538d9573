"""Two releases of a small training, and a folder to deploy them in."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.settings.loader import Settings, load_settings
from tests.endpoints.helpers import Place, a_place
from tests.helpers import train_here, write_settings, write_tables
from training.release import release


@dataclass
class Releases:
    """A store that holds version 1, the champion, and version 2, of other predictions."""

    settings: Settings
    store: Path
    runs: dict[str, str]
    """The run of each version."""


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Releases:
    root = tmp_path_factory.mktemp("releases")
    (root / ".local").mkdir()
    shutil.copy(empty_store, root / ".local/mlflow.db")
    write_tables(root)
    settings = load_settings(write_settings(root, grids__ridge={"alpha": [1, 100]}))
    result = train_here(settings)
    runs = {}
    for entry in result.leaderboard:
        done = release(settings, f"runs:/{entry.run_id}/model")
        runs[done.manifest.version] = entry.run_id
    assert sorted(runs) == ["1", "2"]
    return Releases(settings, Path(settings.resolve_path(settings.release.store)), runs)


@pytest.fixture
def store(releases: Releases, tmp_path: Path) -> Path:
    """A copy of the store, for a test to break."""
    copy = tmp_path / "store"
    shutil.copytree(releases.store, copy)
    return copy


@pytest.fixture
def place(releases: Releases, store: Path, tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path, store, releases.settings.root) as made:
        yield made


@pytest.fixture
def two_live(place: Place) -> Place:
    """Version 2 is live, and version 1 kept."""
    place.target.deploy("1")
    place.target.deploy("2")
    return place
