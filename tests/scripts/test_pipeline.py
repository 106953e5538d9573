"""`make pipeline`, run twice, and `make teardown`."""

import json
import re
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest
from mlflow import MlflowClient

from endpoints.ports import find_free_port
from endpoints.processes import ENV_MARKER
from scripts.local.mlflow_server import is_server_healthy
from tests.helpers import run, write_settings


def find_processes(folder: Path) -> list[psutil.Process]:
    """Return the running processes that belong to a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            marker = process.environ().get(ENV_MARKER, "")
        except (psutil.Error, OSError):
            continue
        if marker.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture
def project(folder: Path) -> Path:
    write_settings(folder, serving={"port": find_free_port(), "workers": 1})
    return folder


def test_second_pipeline_changes_nothing(project: Path) -> None:
    port = find_free_port()
    try:
        first = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        assert first.returncode == 0, first.stderr
        assert [line[:3] for line in first.stderr.splitlines() if "/4 " in line] == [
            "1/4",
            "2/4",
            "3/4",
            "4/4",
        ]
        processes = {process.pid for process in find_processes(project)}
        state = (project / ".local/endpoints/prod-endpoint/state.json").read_text()

        second = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        assert second.returncode == 0, second.stderr
        assert {process.pid for process in find_processes(project)} == processes
        assert (project / ".local/endpoints/prod-endpoint/state.json").read_text() == state
        assert second.stdout == first.stdout
        store = MlflowClient(f"sqlite:///{project}/.local/mlflow.db")
        assert len(store.search_model_versions()) == 1

        address = re.search(r"^Endpoint +(\S+)$", first.stdout, re.MULTILINE)
        page = re.search(r"^MLflow +(http://127.0.0.1:\d+)/", first.stdout, re.MULTILINE)
        assert address
        assert page
        assert is_server_healthy(page[1])
        # The UI's log isn't rotated, so it must not grow with each request.
        assert "/health" not in (project / ".local/ui/log").read_text()
        rows = json.loads((project / ".local/releases/house-prices/1/check.json").read_text())
        body = json.dumps({"instances": rows["rows"]}).encode()
        request = Request(address[1], body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as response:
            assert json.load(response)["predictions"] == rows["predictions"]
    finally:
        teardown = run("scripts.teardown", folder=project)
    assert "the MLflow UI" in teardown.stdout
    assert find_processes(project) == []
    assert not is_server_healthy(page[1])
    assert not (project / ".local/endpoints").exists()


def test_unavailable_ui_is_a_warning(project: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        try:
            done = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        finally:
            run("scripts.teardown", folder=project)
    assert done.returncode == 0, done.stderr
    reason = f"port {port} is in use by another program"
    assert f"warning: the MLflow UI is not started: {reason}" in done.stderr
