"""What the tests of the local endpoint share: releases, a place to deploy in, and a client."""

import json
import threading
import time
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
from tests.helpers import write_settings

ENDPOINT = "prod-endpoint"


@dataclass
class Place:
    """A project's folder with a port of its own."""

    root: Path
    settings: Settings
    clients: list[Any] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.settings.serving.port

    @property
    def home(self) -> Path:
        return self.root / ".local" / "endpoints"

    @property
    def target(self) -> LocalTarget:
        return LocalTarget(self.settings)

    def state(self) -> Any:
        return json.loads((self.home / ENDPOINT / "state.json").read_text())

    def pids(self) -> set[int]:
        return {process.pid for process in processes.find(self.home, below=True)}

    def folders(self) -> set[str]:
        return {one.name for one in (self.home / ENDPOINT).iterdir() if one.is_dir()}

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

    def version(self) -> str:
        """Ask with one row; return the version that answers."""
        answer = self.target.invoke(body_of(self.check()))
        return answer.attributes["version"]

    def check(self) -> Any:
        release = self.home / ENDPOINT / self.state()["live"]["id"] / "release"
        return json.loads((release / CHECK_FILE).read_text())


def body_of(known: Any, rows: int = 1) -> bytes:
    return json.dumps({"dataframe_records": known["rows"][:rows]}).encode()


@contextmanager
def a_place(root: Path, store: Path, tables: Path) -> Iterator[Place]:
    """A folder to deploy in, from a store elsewhere; taken down at the end."""
    for name in ("train.csv", "test.csv", "test_prices.csv"):
        (root / name).symlink_to(tables / name)
    serving = {"port": find_free_port(), "workers": 1}
    place = Place(
        root, load_settings(write_settings(root, release={"store": str(store)}, serving=serving))
    )
    try:
        yield place
    finally:
        for client in place.clients:
            client.close()
        place.target.teardown()
        assert not place.pids()


def rewrite(folder: Path, version: str) -> None:
    """Make a changed folder a whole release again, of another version."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), str(folder))
    (folder / MANIFEST_FILE).unlink()
    changes = {"version": version, "files": list_files(folder)}
    (folder / MANIFEST_FILE).write_bytes(manifest.model_copy(update=changes).to_bytes())


class Load:
    """Clients that ask without a pause, each over one connection, until they are told to stop."""

    def __init__(self, place: Place, clients: int = 4) -> None:
        self._port, self._body = place.port, body_of(place.check())
        self._over = threading.Event()
        self.versions: list[list[str]] = [[] for _ in range(clients)]
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(one,)) for one in self.versions]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, versions: list[str]) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        headers = {"Content-Type": "application/json"}
        while not self._over.is_set():
            try:
                connection.request(
                    "POST", f"/endpoints/{ENDPOINT}/invocations", self._body, headers
                )
                answer = connection.getresponse()
                content = answer.read().decode()
                about = answer.headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if answer.status != 200:
                self.failures.append(content)
                continue
            versions.append(dict(one.split("=") for one in about.split(";"))["version"])
        connection.close()


def wait_until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(pid: int) -> None:
    """Kill a process that a test has started, and its children with it."""
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        one.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
