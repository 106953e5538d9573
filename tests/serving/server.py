"""Build a release without MLflow, and start the server as a container does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from contract.paths import PROJECT_ROOT
from contract.release import (
    CHECK_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PACKED_FILE,
    Manifest,
    list_files,
)
from contract.settings.loader import load_settings
from endpoints.ports import find_free_port
from training.data.dataset import read_training, split
from training.export.columns import describe_columns
from training.export.onnx_export import export_onnx
from training.export.parity import OnnxModel
from training.runs.model_writer import infer_schema
from training.search.grid import EvaluatedPipeline, fit_grids, plan_grids, prepare_data

JSON = "application/json"
PARAMS = {"xgboost": {"n_estimators": 50, "max_depth": 4}, "ridge": {"alpha": 10}}


def build_release(folder: Path, family: str) -> pd.DataFrame:
    """Fit a small model on the project's data, write a release of it, and return all rows."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    parts = split(read_training(settings), settings)
    rows = prepare_data(parts, settings)
    (full_grid,) = [grid for grid in plan_grids(settings) if grid.name == family]
    grid = type(full_grid)(family, full_grid.family, [PARAMS[family]])
    (fit,) = fit_grids([grid], rows, 1)
    pipeline = EvaluatedPipeline.from_model(fit, grid, rows).pipeline
    graph, packed = (
        export_onnx(pipeline, grid.family, parts.X_train, settings.data.missing_values, packed)
        for packed in (False, True)
    )
    schema = infer_schema(parts.X_train, parts.X_val)
    required = {column.name for column in schema.inputs if column.required}

    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(graph)
    (folder / PACKED_FILE).write_bytes(packed)
    head = parts.X_val.head(20)
    check = {
        "rows": json.loads(head.to_json(orient="records")),
        "predictions": OnnxModel(graph).predict(head).tolist(),
    }
    (folder / CHECK_FILE).write_text(json.dumps(check))
    manifest = Manifest(
        model="house-prices",
        version="7",
        created_at="2026-01-01T00:00:00+00:00",
        run_id="r",
        family=family,
        params=PARAMS[family],
        validation_metrics=fit.metrics,
        test_metrics=None,
        data_digest="d",
        git_commit=None,
        mlflow_version="3.17.2",
        label=settings.data.label,
        missing_values=settings.data.missing_values,
        columns=tuple(describe_columns(pipeline, parts.X_train, required)),
        files=list_files(folder),
    )
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return pd.concat([parts.X_train, parts.X_val])


class Response(NamedTuple):
    """A response of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def predictions(self) -> list[float]:
        """The predictions of a JSON response."""
        assert self.status == 200, self.body
        predictions: list[float] = json.loads(self.body)["predictions"]
        return predictions

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, error code and message of an error response."""
        content = json.loads(self.body)
        assert set(content) == {"error_code", "message"}
        return self.status, content["error_code"], content["message"]


class Client:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._connection.request(method, path, body, sent)
            response = self._connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, received, response.read())
        except Exception:
            self._connection.close()
            raise

    def post(self, body: Any, content_type: str = JSON, **headers: str) -> Response:
        """Request predictions; a body that is neither str nor bytes is sent as JSON."""
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        content = content.encode() if isinstance(content, str) else content
        return self.request("POST", "/invocations", content, Content_Type=content_type, **headers)

    def wait_until_ready(self, seconds: float = 30) -> None:
        """Return when /ping returns 200, when the server has exited, or after some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._is_running():
            try:
                if self.request("GET", "/ping").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)

    def _is_running(self) -> bool:
        return True

    def close(self) -> None:
        self._connection.close()


class Server(Client):
    """A server process and one connection to it."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        super().__init__(port)
        self.process = process

    def _is_running(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


def start_server(folder: Path, port: int, **settings: Any) -> "subprocess.Popen[str]":
    """Start the server as a container does, with settings from the environment."""
    variables = {f"STACK_SERVING__{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "serving", "serve", "--model", str(folder), "--host", "127.0.0.1"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "SAGEMAKER_BIND_TO_PORT": str(port), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running_server(folder: Path, **settings: Any) -> Iterator[Server]:
    """A server that is ready; by default with one worker and without a request log."""
    port = find_free_port()
    process = start_server(folder, port, **{"workers": 1, "log_requests": False, **settings})
    server = Server(process, port)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def to_records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects, null for missing values."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def to_bits(predictions: list[float]) -> list[int]:
    """The bits of the predictions, to compare them exactly."""
    return [int(value) for value in np.array(predictions, np.float32).view(np.int32)]
