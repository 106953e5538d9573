"""The servers that are compared: how each is started, asked and ended."""

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.client import HOST
from benchmarks.measure import BenchmarkError
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port

START_SECONDS = 120
QUIET: dict[str, str] = {"MLFLOW_DISABLE_TELEMETRY": "true", "STACK_SERVING__LOG_REQUESTS": "true"}
PANDAS_2 = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""MLflow's server gives onnxruntime a table's columns, and it can't take the text of pandas 3."""


@dataclass(frozen=True)
class Server:
    """A server to compare."""

    name: str
    command: Sequence[str]
    """`{port}` stands for its port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables; `{port}` here too."""
    path: str = "/invocations"
    ready: str = "/ping"


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    process: psutil.Process
    port: int
    cold_start: float
    """Seconds from its start to its first 200."""

    def memory(self) -> float:
        """Return the memory of its largest process, a worker, in MB.

        What it shares with another process counts in part (proportional set size).
        """
        return max(one.memory_full_info().pss for one in self.family()) / 1e6

    def own_memory(self) -> float:
        """Return what all of its processes have for themselves alone, in MB."""
        return sum(one.memory_full_info().uss for one in self.family()) / 1e6

    def family(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return [self.process, *self.process.children(recursive=True)]


def servers(release: Path, pipeline: Path) -> list[Server]:
    """Return the servers of one model.

    Args:
        release: The folder of its release.
        pipeline: The folder of the same model as MLflow tracked it, in scikit-learn's flavor.
    """
    python = sys.executable
    uvicorn = [python, "-m", "uvicorn", "--no-access-log", "--log-level=error", "--port={port}"]
    ours = [python, "-m", "serving", "--model", str(release), f"--host={HOST}", "--port={port}"]
    mlflow = [python, "-m", "mlflow", "models", "serve", "--env-manager=local", "--port={port}"]
    model = {"MODEL": str(pipeline)}
    return [
        Server("floor", [*uvicorn, "benchmarks.apps:floor"]),
        Server("serving, one worker", ours, {"STACK_SERVING__WORKERS": "1"}),
        Server("serving", ours),
        Server("mlflow models serve", [*mlflow, "--model-uri", str(pipeline)]),
        Server(
            "mlflow models serve, of the release",
            [*mlflow, "--model-uri", str(release)],
            PANDAS_2,
        ),
        Server(
            "FastAPI with mlflow.pyfunc",
            [*uvicorn, "--factory", "benchmarks.apps:fastapi_app"],
            model,
        ),
    ]


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server and wait until it answers; end it afterwards.

    Raises:
        BenchmarkError: It doesn't answer within two minutes.
    """
    port = find_free_port()
    own = {name: text.replace("{port}", str(port)) for name, text in server.environment.items()}
    environment = {**_environment(), **QUIET, **own}
    began = time.perf_counter()
    with subprocess.Popen(
        [part.format(port=port) for part in server.command],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        family = psutil.Process(process.pid)
        try:
            while not _is_ready(port, server.ready):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise BenchmarkError(f"{server.name} doesn't answer")
                time.sleep(0.005)
            yield Running(server, family, port, time.perf_counter() - began)
        finally:
            _end(family)


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: psutil.Process) -> None:
    try:
        everyone = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in everyone:
        try:
            one.terminate()
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(everyone, timeout=15)
    for one in left:
        one.kill()


def _environment() -> dict[str, str]:
    """Return this environment without settings; MLflow starts `uvicorn` by its name."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("STACK_")}
    binaries = str(Path(sys.executable).parent)
    if shutil.which("uvicorn", path=binaries) is None:
        raise BenchmarkError(f"no uvicorn in {binaries}")
    return own | {"PATH": f"{binaries}{os.pathsep}{own.get('PATH', '')}"}
