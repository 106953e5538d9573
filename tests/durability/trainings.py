"""Trainings to interrupt: a small grid, the runs that it leaves, and ways to resume it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from contract.settings.loader import load_settings
from tests.helpers import run, train_in_process

GRIDS: dict[str, dict[str, Any]] = {
    "training": {"families": ["ridge", "elasticnet", "xgboost"]},
    "grids__ridge": {"alpha": [1, 10], "fit_intercept": [True]},
    "grids__elasticnet": {"alpha": [1, 10], "l1_ratio": [0.5, 0.8], "fit_intercept": [True]},
    "grids__xgboost": {
        "n_estimators": [5, 10],
        "learning_rate": [0.3],
        "max_depth": [2, 3],
        "subsample": [0.8],
    },
}
"""All three families; in each of them combinations share work."""
TOTAL = 10

Leaderboard = list[tuple[str, dict[str, float]]]


def leaderboard_of(result: Any) -> Leaderboard:
    """Return the leaderboard of a training's JSON, without what differs between trainings."""
    return [(entry["name"], dict(entry["metrics"])) for entry in result["leaderboard"]]


def resume(folder: Path, tracking_uri: str = "") -> Any:
    """Train in this process, or by the command with a tracking URI; return the result as JSON."""
    if not tracking_uri:
        return train_in_process(load_settings(folder / "settings.toml")).as_json()
    done = run("scripts.train", "--json", folder=folder, MLFLOW_TRACKING_URI=tracking_uri)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/.local/mlflow.db")


def runs_of(folder: Path) -> tuple[list[Run], list[Run]]:
    """Return parent runs and child runs, the latest first."""
    return runs_in(client_of(folder), "house-prices")


def runs_in(client: MlflowClient, name: str) -> tuple[list[Run], list[Run]]:
    """Return parent runs and child runs of an experiment, the latest first."""
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if "mlflow.parentRunId" in run.data.tags]


def read_until(process: "subprocess.Popen[str]", tracked: int) -> None:
    """Read the output of a training until so many combinations are tracked."""
    assert process.stdout is not None
    for line in process.stdout:
        if tracked == 0 and "combinations" in line:
            return
        if line.startswith("[") and int(line[1:].split("/")[0]) >= tracked > 0:
            return
    pytest.fail("the training ended early")


def worker_of(pid: int) -> int:
    """Return the pid of the worker process among the processes that a training has started."""
    found = [
        child
        for child in children_of(pid)
        if b"training.search.worker_process" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(found) == 1
    return found[0]


def children_of(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


@contextmanager
def busy_machine(processes: int = 8, seconds: int = 60) -> Iterator[None]:
    """Keep all cores busy by other processes, which stop by themselves after some seconds."""
    loop = f"import time\nend = time.time() + {seconds}\nwhile time.time() < end: pass"
    started = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
