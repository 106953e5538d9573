"""`make pipeline`: all of it, twice, and taken down again."""

import json
import re
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest
from mlflow import MlflowClient

from endpoints.ports import find_free_port
from scripts.local.mlflow_server import answers
from tests.helpers import run, write_settings


def of_folder(folder: Path) -> list[psutil.Process]:
    """All that runs in a folder's name."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("STACK_ENDPOINT_FOLDER", "")
        except (psutil.Error, OSError):
            continue
        if mark.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture
def project(folder: Path) -> Path:
    write_settings(folder, serving={"port": find_free_port(), "workers": 1})
    return folder


def test_it_does_all_of_it_and_nothing_twice(project: Path) -> None:
    port = find_free_port()
    try:
        first = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        assert first.returncode == 0, first.stderr
        assert [line[:3] for line in first.stderr.splitlines() if "/4 " in line] == [
            *("1/4", "2/4", "3/4", "4/4")
        ]
        processes = {process.pid for process in of_folder(project)}
        state = (project / ".local/endpoints/prod-endpoint/state.json").read_text()

        second = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        assert second.returncode == 0, second.stderr
        assert {process.pid for process in of_folder(project)} == processes
        assert (project / ".local/endpoints/prod-endpoint/state.json").read_text() == state
        # The same words about the same things.
        assert second.stdout == first.stdout
        store = MlflowClient(f"sqlite:///{project}/.local/mlflow.db")
        assert len(store.search_model_versions()) == 1

        address = re.search(r"^Endpoint +(\S+)$", first.stdout, re.MULTILINE)
        page = re.search(r"^UI +(http://127.0.0.1:\d+)/", first.stdout, re.MULTILINE)
        assert address
        assert page
        assert answers(page[1])
        rows = json.loads((project / ".local/releases/house-prices/1/check.json").read_text())
        body = json.dumps({"instances": rows["rows"]}).encode()
        request = Request(address[1], body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as reply:
            assert json.load(reply)["predictions"] == rows["predictions"]
    finally:
        ended = run("scripts.teardown", folder=project)
    assert "the UI" in ended.stdout
    assert of_folder(project) == []
    assert not answers(page[1])
    assert not (project / ".local/endpoints").exists()


def test_a_ui_that_cannot_be_had_is_said_and_no_failure(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        try:
            done = run("scripts.pipeline", "--ui-port", str(port), folder=project)
        finally:
            run("scripts.teardown", folder=project)
    assert done.returncode == 0, done.stderr
    assert f"warning: no UI: http://127.0.0.1:{port}: the port is in use" in done.stderr
