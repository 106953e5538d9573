"""`make run` and `mlflow run`: the folder as an MLflow project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from scripts.local.mlflow_server import is_server_healthy
from scripts.run import _choose_env_manager
from tests.helpers import run

VENV = Path(sys.executable).parent


@pytest.fixture
def uri() -> str:
    return f"http://127.0.0.1:{find_free_port()}"


def test_run_starts_a_server_and_stops_it_after_training(folder: Path, uri: str) -> None:
    done = run("scripts.run", "--tracking", uri, "--env-manager", "local", folder=folder)

    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"Running Training in experiment ElasticNet at {uri}; environment:")
    assert lines[1].startswith(f"Starting an MLflow server at {uri} for this run")
    assert "Winner: ridge" in done.stdout
    assert "Tracked in experiment ElasticNet; show it with: make ui" in done.stdout
    assert "View run" not in done.stdout + done.stderr
    assert not is_server_healthy(uri)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/.local/mlflow.db")
    experiment = client.get_experiment_by_name("ElasticNet")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3  # the project's run is the parent run, not a fourth run
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.data.tags["mlflow.project.entryPoint"] for run in parents] == ["Training"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_failed_training_is_a_failed_run(folder: Path, uri: str) -> None:
    (folder / "train.csv").unlink()

    done = run("scripts.run", "--tracking", uri, "--env-manager", "local", folder=folder)

    assert done.returncode == 2
    assert f"error: {folder}/train.csv: no such file" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the project's run failed: ")
    assert "Traceback" not in done.stderr
    assert not is_server_healthy(uri)


def test_unreachable_remote_server_is_reported_in_one_line(folder: Path) -> None:
    done = run("scripts.run", "--tracking", "http://mlflow.invalid:5000", folder=folder)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: no MLflow server responds at http://mlflow.invalid:5000"
    )


def test_mlflow_run_works_without_make_run(folder: Path) -> None:
    store = f"sqlite:///{folder}/own.db"
    done = subprocess.run(
        ["mlflow", "run", str(PROJECT_ROOT), "-e", "main", "--env-manager", "local"],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{VENV}{os.pathsep}{os.environ['PATH']}",
            "STACK_SETTINGS": str(folder / "settings.toml"),
            "MLFLOW_TRACKING_URI": store,
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    runs = MlflowClient(tracking_uri=store).search_runs(["0"])
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_env_manager_is_conda_else_uv_else_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _choose_env_manager("") == (
        "local",
        "the current one (neither conda nor uv is on the PATH)",
    )

    for name in ("uv", "conda"):
        shutil.copy(shutil.which("true", path="/bin:/usr/bin") or "", tmp_path / name)
        assert _choose_env_manager("") == (name, f"{name}, from conda.yaml")
