"""A training container without a container: /opt/ml in a folder, and the entry point's process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.paths import PROJECT_ROOT
from tests.durability.trainings import GRIDS
from tests.helpers import write_settings, write_tables
from training_job.folders import BASE_VARIABLE

COMMAND = [sys.executable, "-m", "training_job", "train"]
LABELS = {"train": "train.csv", "test": "test.csv", "test_labels": "test_prices.csv"}


def lay_out(base: Path, **settings: Any) -> Path:
    """Create /opt/ml with a small training: settings as TOML, and the tables in their channels.

    Args:
        base: The folder to create it in.
        **settings: Sections of the settings that differ from those of the durability tests.
    """
    opt_ml, data = base / "ml", base / "ml" / "input" / "data"
    tables = base / "tables"
    tables.mkdir(parents=True)
    write_tables(tables)
    for channel, file in LABELS.items():
        (data / channel).mkdir(parents=True)
        shutil.copy(tables / file, data / channel)
    (data / "config").mkdir()
    (opt_ml / "input" / "config").mkdir()
    write_settings(data / "config", **{**GRIDS, **settings})
    return opt_ml


def write_config(opt_ml: Path, name: str, content: Mapping[str, Any]) -> None:
    (opt_ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))


def start(opt_ml: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start the container's process."""
    return subprocess.Popen(
        COMMAND,
        cwd=PROJECT_ROOT,
        env={**os.environ, BASE_VARIABLE: str(opt_ml), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(opt_ml: Path, **environment: str) -> tuple[int, str]:
    """Run the container's process to its end; return its exit code and its log."""
    process = start(opt_ml, **environment)
    log, _ = process.communicate(timeout=150)
    return process.returncode, log


def read_until_tracked(process: "subprocess.Popen[str]", count: int) -> None:
    """Read the log until so many combinations are tracked."""
    assert process.stdout is not None
    for line in process.stdout:
        if f'"tracked": {count},' in line:
            return
    raise AssertionError("the job ended early")


def result_of(opt_ml: Path) -> dict[str, Any]:
    return dict(json.loads((opt_ml / "output/data/result.json").read_text()))
