"""What the tests of trainings that are cut off need: a small grid, its runs, and ways to go on."""

import json
import subprocess
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
"""All three families, in each of which combinations share work."""
TOTAL = 10

Board = list[tuple[str, dict[str, float]]]


def board(result: Any) -> Board:
    """The leaderboard of a training's JSON, without what differs from run to run."""
    return [(entry["name"], dict(entry["metrics"])) for entry in result["leaderboard"]]


def go_on(folder: Path, store: str = "") -> Any:
    """Train in this process, or in another store by the command; the result as JSON."""
    if not store:
        return train_in_process(load_settings(folder / "settings.toml")).as_json()
    done = run("scripts.train", "--json", folder=folder, MLFLOW_TRACKING_URI=store)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/.local/mlflow.db")


def runs(folder: Path) -> tuple[list[Run], list[Run]]:
    """Parents and children, the latest first."""
    client = client_of(folder)
    experiment = client.get_experiment_by_name("house-prices")
    found = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    parents = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    return parents, [one for one in found if "mlflow.parentRunId" in one.data.tags]


def read_until(process: "subprocess.Popen[str]", tracked: int) -> None:
    """Read a training's lines until so many combinations are tracked."""
    assert process.stdout is not None
    for line in process.stdout:
        if tracked == 0 and "combinations" in line:
            return
        if line.startswith("[") and int(line[1:].split("/")[0]) >= tracked > 0:
            return
    pytest.fail("it ended before")


def worker_of(process: int) -> int:
    """Return the pid of the worker process, among others that a training may have started."""
    found = [
        one
        for one in children_of(process)
        if b"training.search.worker_process" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    assert len(found) == 1
    return found[0]


def children_of(process: int) -> list[int]:
    file = Path(f"/proc/{process}/task/{process}/children")
    return [int(one) for one in file.read_text().split()] if file.exists() else []
