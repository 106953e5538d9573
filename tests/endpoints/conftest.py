"""Fixtures for the tests of the local endpoint: two releases, and a project to deploy them in."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.settings.loader import Settings, load_settings
from tests.endpoints.helpers import Project, create_project
from tests.helpers import train_in_process, write_settings, write_tables
from training.release import release


@dataclass
class Releases:
    """A store with version 1, the champion, and version 2, which predicts differently."""

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
    result = train_in_process(settings)
    runs = {}
    for entry in result.leaderboard:
        released = release(settings, f"runs:/{entry.run_id}/model")
        runs[released.manifest.version] = entry.run_id
    assert sorted(runs) == ["1", "2"]
    return Releases(settings, Path(settings.resolve_path(settings.release.store)), runs)


@pytest.fixture
def store(releases: Releases, tmp_path: Path) -> Path:
    """A copy of the store, which a test may damage."""
    copy = tmp_path / "store"
    shutil.copytree(releases.store, copy)
    return copy


@pytest.fixture
def project(releases: Releases, store: Path, tmp_path: Path) -> Iterator[Project]:
    """A project in which nothing is deployed yet."""
    with create_project(tmp_path, store, releases.settings.root) as created:
        yield created


@pytest.fixture
def deployed_twice(project: Project) -> Project:
    """A project in which version 2 is live, and version 1 the previous one."""
    project.target.deploy("1")
    project.target.deploy("2")
    return project
