"""Helpers for all packages: settings, a progress recorder, and running commands as a user does."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.result import LeaderboardEntry, Progress, TrainingResult
from training.search.worker import Worker
from training.train import train

VENV = Path(sys.executable).parent
MISSING_AS_CATEGORY = [
    "Alley",
    "BsmtQual",
    "FireplaceQu",
    "GarageType",
    "PoolQC",
    "Fence",
    "MiscFeature",
]

DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {
        "train": "train.csv",
        "test": "test.csv",
        "test_labels": "test_prices.csv",
        "label": "SalePrice",
        "id": "Id",
        "categorical": ["MSSubClass"],
        "missing_as_category": MISSING_AS_CATEGORY,
    },
    "training": {"families": ["ridge"]},
    "grids.ridge": {"alpha": [1, 10], "fit_intercept": [True]},
}


class Recorder:
    """Records the progress of a training."""

    def __init__(self) -> None:
        self.total = 0
        self.entries: list[LeaderboardEntry] = []
        self.bests: list[LeaderboardEntry] = []

    def started(self, total: int, already_tracked: int, train: int, val: int, test: int) -> None:
        self.total, self.already_tracked = total, already_tracked
        self.rows = (train, val, test)

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        self.entries.append(entry)
        self.bests.append(best)


def train_in_process(
    settings: Settings, progress: Progress | None = None, force: bool = False
) -> TrainingResult:
    """Train in this process, with its own worker process."""
    with Worker() as worker:
        return train(settings, progress or Recorder(), worker, force)


def write_settings(folder: Path, **changes: dict[str, Any]) -> Path:
    """Write a settings.toml; `grids__ridge={...}` is the section [grids.ridge]."""
    sections = {name: dict(section) for name, section in DEFAULTS.items()}
    for name, section in changes.items():
        sections.setdefault(name.replace("__", "."), {}).update(section)
    lines = []
    for name, section in sections.items():
        lines.append(f"[{name}]")
        # Strings, numbers and lists are the same in JSON and TOML.
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in section.items()]
    file = folder / "settings.toml"
    file.write_text("\n".join(lines))
    return file


def write_tables(folder: Path) -> None:
    """Write the first rows of the Ames tables: 200 for training, 50 for testing."""
    for name, rows in (("train.csv", 200), ("test.csv", 50)):
        lines = (PROJECT_ROOT / "data" / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[: 1 + rows]))
    shutil.copy(PROJECT_ROOT / "data/test_prices.csv", folder)


def environment_for(folder: Path) -> dict[str, str]:
    """Return a user's environment that selects the settings of a folder."""
    shell = {name: value for name, value in os.environ.items() if name != "MLFLOW_LOGGING_LEVEL"}
    return {**shell, "STACK_SETTINGS": str(folder / "settings.toml")}


def run(
    module: str, *arguments: str, folder: Path, cwd: Path = PROJECT_ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command with the settings of a folder and return its result."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment_for(folder) | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def environment_without_make() -> dict[str, str]:
    """Return this environment without what `make test ARGS=...` passes to the commands it runs."""
    return {
        name: value for name, value in os.environ.items() if "MAKE" not in name and name != "ARGS"
    }


def run_make(*arguments: str, cwd: Path = PROJECT_ROOT) -> "subprocess.CompletedProcess[str]":
    """Run make as from a user's shell, even if make runs the tests."""
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env=environment_without_make(),
        capture_output=True,
        text=True,
        check=False,
    )


def start(
    module: str, *arguments: str, folder: Path, **environment: str
) -> "subprocess.Popen[str]":
    """Start a command in the background; standard error is merged into standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        env=environment_for(folder) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Return as soon as a condition is true; fail if it isn't for some time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
