"""The processes of the server: start, logs, restart and shutdown."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract.paths import PROJECT_ROOT
from contract.release import MANIFEST_FILE, PACKED_FILE
from endpoints.ports import find_free_port
from tests.serving.server import Client, Server, running_server, start_server, to_records


def start_failure(folder: Path, **settings: Any) -> str:
    """Start a server that fails; return its error line."""
    process = start_server(folder, find_free_port(), **settings)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    return line


@pytest.fixture
def copy(released: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    for file in released[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and its entry in the manifest."""
    from hashlib import sha256  # noqa: PLC0415

    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for entry in manifest["files"]:
        if entry["path"] == name:
            entry |= {"sha256": sha256(content).hexdigest(), "size": len(content)}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_invalid_release_is_reported_in_one_line(copy: Path, tmp_path: Path) -> None:
    assert "no such folder" in start_failure(tmp_path / "missing")
    (copy / PACKED_FILE).write_bytes((copy / PACKED_FILE).read_bytes() + b"x")
    assert "packed.onnx doesn't match its SHA-256 in manifest.json" in start_failure(copy)


def test_other_mlflow_flavor_is_refused(tmp_path: Path) -> None:
    flavors = "flavors:\n  python_function:\n    a: b\n  sklearn:\n    c: d\n"
    (tmp_path / "MLmodel").write_text(flavors)
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    assert "an MLflow model of flavor sklearn without manifest.json" in start_failure(tmp_path)


def test_unlisted_file_is_refused(copy: Path) -> None:
    (copy / "registered_model_meta").write_text("written by MLflow")
    with running_server(copy) as server:
        assert server.request("GET", "/ping").status == 200
    (copy / "more.py").write_text("print()")
    assert "more.py is not listed" in start_failure(copy)


def test_invalid_graph_is_reported_in_one_line(copy: Path) -> None:
    rewrite(copy, PACKED_FILE, b"no graph")
    assert "house-prices version 7: packed.onnx: " in start_failure(copy, workers=3)


def test_graph_with_other_predictions_is_refused(copy: Path) -> None:
    check = json.loads((copy / "check.json").read_text())
    check["predictions"][3] *= 1.001
    rewrite(copy, "check.json", json.dumps(check).encode())
    assert "its predictions differ from check.json" in start_failure(copy)


def test_columns_that_differ_from_the_graph_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    manifest["columns"][3]["type"] = "double"
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest))
    assert "packed.onnx and manifest.json differ in the columns of type double" in start_failure(
        copy
    )


def test_port_in_use_is_reported_in_one_line(released: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start_server(released[0], port)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert err == f"error: can't listen on 127.0.0.1:{port}: Address already in use\n"


def test_invalid_settings_are_reported_in_one_line(released: Any) -> None:
    assert "STACK_SERVING__WORKERS" in start_failure(released[0], workers="many")
    process = subprocess.run(
        [sys.executable, "-m", "serving", "--model", str(released[0]), "--port", "no"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr == "error: invalid port 'no': expected a number from 1 to 65535\n"


def test_one_worker_per_cpu(released: Any) -> None:
    with running_server(released[0], workers=0) as server:
        assert len(server.workers()) == len(os.sched_getaffinity(0))


def test_requests_in_progress_finish_after_sigterm(released: Any, rows: pd.DataFrame) -> None:
    body = {"instances": to_records(rows) * 6}
    statuses: list[int] = []
    with running_server(released[0], workers=2) as server:
        client = threading.Thread(target=lambda: statuses.append(server.post(body).status))
        client.start()
        time.sleep(0.25)  # the request is in progress
        started_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        client.join(timeout=30)

        assert server.process.wait(timeout=30) == 0
        assert time.monotonic() - started_at < 20
    assert statuses == [200]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops_immediately(released: Any, number: signal.Signals) -> None:
    with running_server(released[0], workers=2) as server:
        workers = server.workers()
        server.process.send_signal(number)
        assert server.process.wait(timeout=3) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_stop_with_their_supervisor(released: Any) -> None:
    with running_server(released[0], workers=2) as server:
        workers = server.workers()
        server.process.kill()
        deadline = time.monotonic() + 10
        while any(_is_running(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_is_running(pid) for pid in workers)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_crashed_worker_is_restarted(released: Any, rows: pd.DataFrame) -> None:
    body = {"instances": to_records(rows.head(1))}
    with running_server(released[0], workers=1) as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                assert server.post(body).status == 200
                break
            except OSError:
                time.sleep(0.05)
        assert server.workers() not in ([], [worker])
        assert server.process.poll() is None


def test_ping_responds_while_the_largest_batch_is_predicted(
    released: Any, rows: pd.DataFrame
) -> None:
    table = rows.head(500).to_csv(index=False, na_rep="NA")
    header, _, lines = table.partition("\n")
    body = header + "\n" + lines * (24 * 2**20 // len(lines))
    done: list[Any] = []
    with running_server(released[0], workers=1) as server:
        client = threading.Thread(target=lambda: done.append(server.post(body, "text/csv")))
        client.start()
        pings = Client(server.port)
        longest = 0.0
        while client.is_alive():
            started_at = time.monotonic()
            assert pings.request("GET", "/ping").status == 200
            longest = max(longest, time.monotonic() - started_at)
            time.sleep(0.01)
        client.join()
        pings.close()
    (response,) = done
    assert len(response.predictions) > 40_000
    assert longest < 2


def test_request_log_is_one_json_line_per_request_without_data(
    released: Any, rows: pd.DataFrame
) -> None:
    secret = "Blackacre"
    row = to_records(rows.head(1))[0] | {"MSZoning": secret}
    port = find_free_port()
    process = start_server(released[0], port, workers=1)
    server = Server(process, port)
    assert process.stderr
    process.stderr.readline()
    server.wait_until_ready()
    server.post({"instances": [row] * 3}, X_Amzn_SageMaker_Inference_Id="order-17")
    server.post({"instances": [row | {"LotArea": secret}]})
    server.close()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)

    first, second = map(json.loads, out.splitlines())
    assert secret not in out + err
    assert (first["status"], first["rows"], first["inference_id"]) == (200, 3, "order-17")
    assert 0 < first["milliseconds"] < 5000
    assert (second["status"], second["error_code"]) == (400, "BAD_REQUEST")
    assert re.fullmatch(r"20\d\d-.*\+00:00", first["time"])


def test_request_log_can_be_disabled(released: Any, rows: pd.DataFrame) -> None:
    port = find_free_port()
    process = start_server(released[0], port, workers=1, log_requests=False)
    server = Server(process, port)
    assert process.stderr
    process.stderr.readline()
    server.wait_until_ready()
    assert server.post({"instances": to_records(rows.head(1))}).status == 200
    server.close()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""


def test_server_imports_no_training_library() -> None:
    code = (
        "import sys, serving.model, serving.app, serving.supervisor, serving.openapi, uvicorn;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "onnxruntime" in loaded
    unwanted = {"mlflow", "pandas", "sklearn", "scipy", "xgboost", "onnx", "boto3", "training"}
    assert not unwanted & set(loaded)


def test_server_sends_no_telemetry(released: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """onnxruntime does by default, and stores an identifier for that in the home folder."""
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with running_server(released[0]) as server:
        assert server.request("GET", "/ping").status == 200
    assert list(tmp_path.rglob("*")) == []
