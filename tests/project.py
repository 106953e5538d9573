"""What several tests need: settings to order, a watcher, and the commands as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from contract.settings import PROJECT
from training.train import Entry

NONE_COLUMNS = ["Alley", "BsmtQual", "FireplaceQu", "GarageType", "PoolQC", "Fence", "MiscFeature"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {
        "train": "train.csv",
        "test": "test.csv",
        "test_labels": "test_prices.csv",
        "label": "SalePrice",
        "id": "Id",
        "codes": ["MSSubClass"],
        "none_is_a_category": NONE_COLUMNS,
    },
    "training": {"families": ["ridge"]},
    "grids.ridge": {"alpha": [1, 10], "fit_intercept": [True]},
}


class Recorder:
    """Remembers what a training reports."""

    def __init__(self) -> None:
        self.total = 0
        self.entries: list[Entry] = []
        self.bests: list[Entry] = []

    def started(self, total: int, train_rows: int, val_rows: int, test_rows: int) -> None:
        self.total = total
        self.rows = (train_rows, val_rows, test_rows)

    def tracked(self, entry: Entry, best: Entry) -> None:
        self.entries.append(entry)
        self.bests.append(best)


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


def run(
    module: str, *arguments: str, folder: Path, cwd: Path = PROJECT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of scripts/ with a folder's settings, as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "STACK_SETTINGS": str(folder / "settings.toml"), **environment},
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
        cwd=PROJECT,
        env={**os.environ, "STACK_SETTINGS": str(folder / "settings.toml"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
