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
from scripts.local.mlflow_server import answers
from scripts.run import _choose
from tests.helpers import run

VENV = Path(sys.executable).parent


@pytest.fixture
def uri() -> str:
    return f"http://127.0.0.1:{find_free_port()}"


def test_the_conductor_starts_a_server_trains_and_leaves_nothing_running(
    folder: Path, uri: str
) -> None:
    done = run("scripts.run", "--tracking", uri, "--env-manager", "local", folder=folder)

    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"Running Training in experiment ElasticNet at {uri}; environment:")
    assert lines[1].startswith(f"Starting an MLflow server at {uri} for this run")
    assert "Winner: ridge" in done.stdout
    assert "Tracked in experiment ElasticNet; see it with: make ui" in done.stdout
    assert "View run" not in done.stdout + done.stderr
    assert not answers(uri)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/.local/mlflow.db")
    experiment = client.get_experiment_by_name("ElasticNet")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3  # the project's run is the parent: there is no fourth
    parents = [one for one in runs if "mlflow.parentRunId" not in one.data.tags]
    assert [one.data.tags["mlflow.project.entryPoint"] for one in parents] == ["Training"]
    assert {one.info.status for one in runs} == {"FINISHED"}


def test_a_failed_training_fails_the_conductor(folder: Path, uri: str) -> None:
    (folder / "train.csv").unlink()

    done = run("scripts.run", "--tracking", uri, "--env-manager", "local", folder=folder)

    assert done.returncode == 2
    assert f"error: {folder}/train.csv: no such file" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the project's run failed: ")
    assert "Traceback" not in done.stderr
    assert not answers(uri)


def test_a_server_elsewhere_that_does_not_answer_is_one_line(folder: Path) -> None:
    done = run("scripts.run", "--tracking", "http://tracking.invalid:5000", folder=folder)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: no MLflow server answers at http://tracking.invalid:5000"
    )


def test_mlflow_run_works_without_the_conductor(folder: Path) -> None:
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
    assert {one.info.status for one in runs} == {"FINISHED"}


def test_conda_is_preferred_then_uv_then_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _choose("") == ("local", "the current one (neither conda nor uv is on the PATH)")

    for name in ("uv", "conda"):
        shutil.copy(shutil.which("true", path="/bin:/usr/bin") or "", tmp_path / name)
        assert _choose("") == (name, f"{name}, from conda.yaml")
