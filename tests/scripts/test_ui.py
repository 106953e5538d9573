"""`make ui`: the MLflow server on the local store, on 127.0.0.1."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from contract.settings.loader import Settings
from endpoints.ports import find_free_port
from scripts.local.mlflow_server import is_server_healthy
from tests.helpers import run, start, train_in_process


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def ui(settings: Settings, folder: Path, port: int) -> Iterator[str]:
    train_in_process(settings)
    process = start("scripts.ui", "--port", str(port), folder=folder)
    uri = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while not is_server_healthy(uri):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield uri
    process.terminate()
    process.communicate(timeout=60)


def test_tracked_runs_are_served(ui: str, folder: Path) -> None:
    client = MlflowClient(tracking_uri=ui)
    experiment = client.get_experiment_by_name("house-prices")
    runs = client.search_runs([experiment.experiment_id])

    assert len(runs) == 3
    assert "<title>MLflow</title>" in requests.get(ui, timeout=10).text
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    listed = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert listed == {
        "code",
        "leaderboard.json",
        "settings.json",
        "test.csv",
        "train.csv",
        "val.csv",
    }
    board = requests.get(
        f"{ui}/get-artifact",
        {"path": "leaderboard.json", "run_id": parent.info.run_id},
        timeout=10,
    ).json()
    assert board["columns"][:3] == ["rank", "combination", "RMSE"]

    # Runs that are tracked through the server can be loaded with and without the server.
    done = run("scripts.train", "--json", folder=folder, MLFLOW_TRACKING_URI=ui)

    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["winner"]["run_id"]
    for uri in (ui, f"sqlite:///{folder}/.local/mlflow.db"):
        mlflow.set_tracking_uri(uri)
        model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
        assert model.metadata.signature is not None


def test_used_port_is_reported_in_one_line(folder: Path, port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()

        done = run("scripts.ui", "--port", str(port), folder=folder)

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: port {port} is in use by another program")


def test_configured_tracking_server_is_named_instead_of_starting_one(folder: Path) -> None:
    done = run("scripts.ui", folder=folder, MLFLOW_TRACKING_URI="http://127.0.0.1:5999")

    assert done.returncode == 2
    assert done.stderr == "error: tracking uses a server; open http://127.0.0.1:5999\n"
