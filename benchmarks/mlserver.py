"""MLServer with its MLflow runtime, to compare with: installed in its own environment."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.client import HOST
from benchmarks.measure import BenchmarkError
from benchmarks.report import FOLDER
from benchmarks.servers import Server
from endpoints.ports import find_free_port

PACKAGES = ("mlserver", "mlserver-mlflow", "uvloop<0.22")
"""With a later uvloop its worker process exits."""
PINNED = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "xgboost-cpu")
"""Pinned to the versions that the model was saved with."""
INSTALL_SECONDS = 300


def install_mlserver(pipeline: Path, scratch: Path) -> Server:
    """Install MLServer, if it isn't yet, and return it as a server of a model.

    Args:
        pipeline: The folder of a tracked model.
        scratch: A folder for its configuration.

    Raises:
        BenchmarkError: The installation failed.
    """
    binary = _install()
    folder = scratch / "mlserver"
    folder.mkdir()
    model = {
        "name": "model",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(pipeline)},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    ports = {f"MLSERVER_{name}_PORT": str(find_free_port()) for name in ("GRPC", "METRICS")}
    http = {"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_HOST": HOST, "MLSERVER_PARALLEL_WORKERS": "1"}
    return Server(
        "MLServer with its mlflow runtime",
        [str(binary), "start", str(folder)],
        {**ports, **http},
        ready="/v2/models/model/ready",
    )


def _install() -> Path:
    environment = FOLDER / "mlserver"
    binary = environment / "bin" / "mlserver"
    if binary.exists():
        return binary
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    pins = [*PACKAGES, *(f"{name}=={version(name)}" for name in PINNED)]
    steps = [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(environment / "bin/python"), *pins],
    ]
    for step in steps:
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchmarkError(f"MLServer is skipped: {error}") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["uv failed"])[-1]
            raise BenchmarkError(f"MLServer is skipped: {reason}")
    return binary
