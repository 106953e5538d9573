"""Helpers for the tests of the local endpoint: a project's folder, client load, processes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

from contract.release import CHECK_FILE, MANIFEST_FILE, list_files, parse_manifest
from contract.settings.loader import Settings, load_settings
from endpoints import processes
from endpoints.local import LocalTarget
from endpoints.ports import find_free_port
from tests.helpers import wait_until, write_settings

ENDPOINT = "prod-endpoint"
MODEL = "house-prices"


@dataclass
class Project:
    """A project's folder, with a port of its own."""

    root: Path
    settings: Settings
    clients: list[Any] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.settings.serving.port

    @property
    def endpoints_folder(self) -> Path:
        return self.root / ".local" / "endpoints"

    @property
    def endpoint_folder(self) -> Path:
        return self.endpoints_folder / ENDPOINT

    @property
    def target(self) -> LocalTarget:
        return LocalTarget(self.settings)

    def state(self) -> Any:
        return json.loads((self.endpoint_folder / "state.json").read_text())

    def pids(self) -> set[int]:
        found = processes.find_by_folder(self.endpoints_folder, recursive=True)
        return {process.pid for process in found}

    def backend_ids(self) -> set[str]:
        return {path.name for path in self.endpoint_folder.iterdir() if path.is_dir()}

    def snapshot(self) -> tuple[Any, set[int], set[str]]:
        """What a failed deployment must leave unchanged."""
        return self.state(), self.pids(), self.backend_ids()

    def client(self) -> Any:
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="eu-central-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.clients.append(client)
        return client

    def live_version(self) -> str:
        """Invoke the endpoint with one row; return the version that responds."""
        response = self.target.invoke(request_body(self.live_check()))
        return response.attributes["version"]

    def live_check(self) -> Any:
        """Load the check rows of the live release, and their predictions."""
        release = self.endpoint_folder / self.state()["live"]["id"] / "release"
        return json.loads((release / CHECK_FILE).read_text())


def request_body(check: Any, rows: int = 1) -> bytes:
    return json.dumps({"dataframe_records": check["rows"][:rows]}).encode()


@contextmanager
def create_project(root: Path, store: Path, tables: Path) -> Iterator[Project]:
    """Create a project that deploys from a store elsewhere; tear it down at the end."""
    for name in ("train.csv", "test.csv", "test_prices.csv"):
        (root / name).symlink_to(tables / name)
    serving = {"port": find_free_port(), "workers": 1}
    settings_file = write_settings(root, release={"store": str(store)}, serving=serving)
    project = Project(root, load_settings(settings_file))
    try:
        yield project
    finally:
        for client in project.clients:
            client.close()
        project.target.teardown()
        assert not project.pids()


def rebuild_manifest(folder: Path, version: str) -> None:
    """Turn a changed folder into a valid release again."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), str(folder))
    (folder / MANIFEST_FILE).unlink()
    changes = {"version": version, "files": list_files(folder)}
    (folder / MANIFEST_FILE).write_bytes(manifest.model_copy(update=changes).to_bytes())


class ClientLoad:
    """Clients that send requests without a pause, one connection per client."""

    def __init__(self, project: Project, clients: int = 4) -> None:
        self._port, self._body = project.port, request_body(project.live_check())
        self._stopped = threading.Event()
        self.versions: list[list[str]] = [[] for _ in range(clients)]
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._send_requests, args=(version,))
            for version in self.versions
        ]

    def __enter__(self) -> "ClientLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send_requests(self, versions: list[str]) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        headers = {"Content-Type": "application/json"}
        path = f"/endpoints/{ENDPOINT}/invocations"
        while not self._stopped.is_set():
            try:
                connection.request("POST", path, self._body, headers)
                response = connection.getresponse()
                content = response.read().decode()
                attributes = response.headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status != 200:
                self.failures.append(content)
                continue
            versions.append(
                dict(attribute.split("=") for attribute in attributes.split(";"))["version"]
            )
        connection.close()


def kill_tree(pid: int) -> None:
    """Kill a process that a test has started, and its child processes."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        each.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
