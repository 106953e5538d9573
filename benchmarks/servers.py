"""The servers to compare: their commands, starting and stopping them, their memory."""

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
VARIABLES: dict[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "STACK_SERVING__LOG_REQUESTS": "true",
}
PANDAS_2 = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""MLflow's server passes text columns to onnxruntime unchanged; pandas 3's dtype fails."""


@dataclass(frozen=True)
class Server:
    """A server to compare."""

    name: str
    command: Sequence[str]
    """With `{port}` in place of the port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables, with `{port}` as well."""
    path: str = "/invocations"
    ready: str = "/ping"


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready."""

    server: Server
    process: psutil.Process
    port: int
    cold_start: float
    """Seconds from its start to the first response with status 200."""

    def memory(self) -> float:
        """Return the proportional set size of its largest process, a worker, in MB."""
        return max(process.memory_full_info().pss for process in self.processes()) / 1e6

    def unique_memory(self) -> float:
        """Return the total unique set size of its processes, in MB."""
        return sum(process.memory_full_info().uss for process in self.processes()) / 1e6

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return [self.process, *self.process.children(recursive=True)]


def list_servers(release: Path, pipeline: Path) -> list[Server]:
    """Return the servers to compare, all of the same model.

    Args:
        release: The folder of the model's release.
        pipeline: The folder of the tracked model, in MLflow's scikit-learn flavor.
    """
    python = sys.executable
    uvicorn = [python, "-m", "uvicorn", "--no-access-log", "--log-level=error", "--port={port}"]
    ours = [python, "-m", "serving", "--model", str(release), f"--host={HOST}", "--port={port}"]
    mlflow = [python, "-m", "mlflow", "models", "serve", "--env-manager=local", "--port={port}"]
    model = {"MODEL": str(pipeline)}
    return [
        Server("baseline", [*uvicorn, "benchmarks.apps:baseline"]),
        Server("serving, one worker", ours, {"STACK_SERVING__WORKERS": "1"}),
        Server("serving", ours),
        Server("mlflow models serve", [*mlflow, "--model-uri", str(pipeline)]),
        Server(
            "mlflow models serve, ONNX release",
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
def run_server(server: Server) -> Iterator[RunningServer]:
    """Start a server and wait until it is ready; stop it on exit.

    Raises:
        BenchmarkError: The server isn't ready within two minutes.
    """
    port = find_free_port()
    variables = {
        name: text.replace("{port}", str(port)) for name, text in server.environment.items()
    }
    environment = {**_environment(), **VARIABLES, **variables}
    start = time.perf_counter()
    with subprocess.Popen(
        [part.format(port=port) for part in server.command],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        root = psutil.Process(process.pid)
        try:
            while not _is_ready(port, server.ready):
                if process.poll() is not None or time.perf_counter() - start > START_SECONDS:
                    raise BenchmarkError(f"{server.name}: the server isn't ready")
                time.sleep(0.005)
            yield RunningServer(server, root, port, time.perf_counter() - start)
        finally:
            _stop(root)


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: psutil.Process) -> None:
    try:
        processes = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in processes:
        try:
            each.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=15)
    for each in alive:
        each.kill()


def _environment() -> dict[str, str]:
    """Return this environment without settings, and with uvicorn in PATH, where MLflow finds it."""
    others = {name: text for name, text in os.environ.items() if not name.startswith("STACK_")}
    binaries = str(Path(sys.executable).parent)
    if shutil.which("uvicorn", path=binaries) is None:
        raise BenchmarkError(f"no uvicorn in {binaries}")
    return others | {"PATH": f"{binaries}{os.pathsep}{others.get('PATH', '')}"}
