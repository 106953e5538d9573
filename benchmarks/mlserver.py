"""MLServer with its MLflow runtime, as a peer: installed beside the project, where it installs."""

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
"""A later uvloop ends its worker."""
SAME = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "xgboost-cpu")
"""What the model was saved with."""
INSTALL_SECONDS = 300


def mlserver(pipeline: Path, scratch: Path) -> Server:
    """Install it in an environment of its own, once, and return it as a server of a model.

    Args:
        pipeline: The folder of a model as MLflow tracked it.
        scratch: A folder for its configuration.

    Raises:
        BenchmarkError: It doesn't install.
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
    own = {"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_HOST": HOST, "MLSERVER_PARALLEL_WORKERS": "1"}
    return Server(
        "MLServer with its mlflow runtime",
        [str(binary), "start", str(folder)],
        {**ports, **own},
        ready="/v2/models/model/ready",
    )


def _install() -> Path:
    environment = FOLDER / "mlserver"
    binary = environment / "bin" / "mlserver"
    if binary.exists():
        return binary
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    pins = [*PACKAGES, *(f"{name}=={version(name)}" for name in SAME)]
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
            raise BenchmarkError(f"MLServer is left out: {error}") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["uv failed"])[-1]
            raise BenchmarkError(f"MLServer is left out: {reason}")
    return binary
