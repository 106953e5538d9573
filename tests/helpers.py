"""What several tests need: settings to order, a watcher, and the commands as a user runs them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.result import LeaderboardEntry, Progress, TrainingResult
from training.search.worker import Worker
from training.train import train

VENV = Path(sys.executable).parent
NONE_COLUMNS = ["Alley", "BsmtQual", "FireplaceQu", "GarageType", "PoolQC", "Fence", "MiscFeature"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {
        "train": "train.csv",
        "test": "test.csv",
        "test_labels": "test_prices.csv",
        "label": "SalePrice",
        "id": "Id",
        "categorical": ["MSSubClass"],
        "missing_as_category": NONE_COLUMNS,
    },
    "training": {"families": ["ridge"]},
    "grids.ridge": {"alpha": [1, 10], "fit_intercept": [True]},
}


class Recorder:
    """Remembers what a training reports."""

    def __init__(self) -> None:
        self.total = 0
        self.entries: list[LeaderboardEntry] = []
        self.bests: list[LeaderboardEntry] = []

    def started(self, total: int, before: int, train: int, val: int, test: int) -> None:
        self.total, self.before = total, before
        self.rows = (train, val, test)

    def tracked(self, entry: LeaderboardEntry, best: LeaderboardEntry) -> None:
        self.entries.append(entry)
        self.bests.append(best)


def train_here(
    settings: Settings, watcher: Progress | None = None, force: bool = False
) -> TrainingResult:
    """Train in this process, with a worker of its own."""
    with Worker() as worker:
        return train(settings, watcher or Recorder(), worker, force)


def write_settings(folder: Path, **changes: dict[str, Any]) -> Path:
    """Write a settings.toml; `grids__ridge={...}` is the table [grids.ridge]."""
    tables = {name: dict(table) for name, table in DEFAULTS.items()}
    for name, table in changes.items():
        tables.setdefault(name.replace("__", "."), {}).update(table)
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        # JSON's texts, numbers and lists are TOML's as well.
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()]
    file = folder / "settings.toml"
    file.write_text("\n".join(lines))
    return file


def write_tables(folder: Path) -> None:
    """Write the first rows of Ames' tables: 200 to train on, 50 to test on."""
    for name, rows in (("train.csv", 200), ("test.csv", 50)):
        lines = (PROJECT_ROOT / "data" / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[: 1 + rows]))
    shutil.copy(PROJECT_ROOT / "data/test_prices.csv", folder)


def environment_for(folder: Path) -> dict[str, str]:
    """A user's environment, with a folder's settings."""
    shell = {name: value for name, value in os.environ.items() if name != "MLFLOW_LOGGING_LEVEL"}
    return {**shell, "STACK_SETTINGS": str(folder / "settings.toml")}


def run(
    module: str, *arguments: str, folder: Path, cwd: Path = PROJECT_ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of scripts/ with a folder's settings, as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment_for(folder) | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def start(
    module: str, *arguments: str, folder: Path, **environment: str
) -> "subprocess.Popen[str]":
    """Start such a command and return while it runs; its two streams are one."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_ROOT,
        env=environment_for(folder) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
