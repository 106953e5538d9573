"""The server's processes: how they start, what they log, and how they end."""

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
from tests.serving.server import Server, records, serving, start


def fails(folder: Path, **settings: Any) -> str:
    """Start a server that can't; return its one line."""
    process = start(folder, find_free_port(), **settings)
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
    """Change a file and let the manifest agree."""
    from hashlib import sha256  # noqa: PLC0415

    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    for entry in manifest["files"]:
        if entry["path"] == name:
            entry |= {"sha256": sha256(content).hexdigest(), "size": len(content)}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_release_that_is_none_is_one_line(copy: Path, tmp_path: Path) -> None:
    assert "no such folder" in fails(tmp_path / "nothing")
    (copy / PACKED_FILE).write_bytes((copy / PACKED_FILE).read_bytes() + b"x")
    assert "packed.onnx differs from what manifest.json says" in fails(copy)


def test_another_flavour_is_refused_by_name(tmp_path: Path) -> None:
    flavours = "flavors:\n  python_function:\n    a: b\n  sklearn:\n    c: d\n"
    (tmp_path / "MLmodel").write_text(flavours)
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    assert "an MLflow model of flavour sklearn without a manifest.json" in fails(tmp_path)


def test_a_file_that_is_not_listed_is_refused_by_name(copy: Path) -> None:
    (copy / "registered_model_meta").write_text("MLflow puts it there")
    with serving(copy) as server:
        assert server.ask("GET", "/ping").status == 200
    (copy / "more.py").write_text("print()")
    assert "more.py is not listed" in fails(copy)


def test_a_graph_that_is_none_is_one_line(copy: Path) -> None:
    rewrite(copy, PACKED_FILE, b"no graph")
    assert "house-prices version 7: packed.onnx: " in fails(copy, workers=3)


def test_a_graph_that_predicts_otherwise_is_refused(copy: Path) -> None:
    known = json.loads((copy / "check.json").read_text())
    known["predictions"][3] *= 1.001
    rewrite(copy, "check.json", json.dumps(known).encode())
    assert "predicts otherwise than check.json says" in fails(copy)


def test_columns_that_are_not_the_graphs_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    manifest["columns"][3]["type"] = "double"
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest))
    assert "differ in the columns of type double" in fails(copy)


def test_a_port_in_use_is_one_line(released: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(released[0], port)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert err == f"error: can't listen on 127.0.0.1:{port}: Address already in use\n"


def test_wrong_settings_are_one_line(released: Any) -> None:
    assert "STACK_SERVING__WORKERS" in fails(released[0], workers="many")
    process = subprocess.run(
        [sys.executable, "-m", "serving", "--model", str(released[0]), "--port", "no"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr == "error: 'no' is no port; it is a number from 1 to 65535\n"


def test_one_process_for_each_processor(released: Any) -> None:
    with serving(released[0], workers=0) as server:
        assert len(server.workers()) == len(os.sched_getaffinity(0))


def test_on_sigterm_it_finishes_what_it_began(released: Any, rows: pd.DataFrame) -> None:
    body = {"instances": records(rows) * 6}
    answers: list[int] = []
    with serving(released[0], workers=2) as server:
        client = threading.Thread(target=lambda: answers.append(server.post(body).status))
        client.start()
        time.sleep(0.25)  # it is being predicted
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        client.join(timeout=30)

        assert server.process.wait(timeout=30) == 0
        assert time.monotonic() - began < 20
    assert answers == [200]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_where_there_is_nothing_to_finish(
    released: Any, number: signal.Signals
) -> None:
    with serving(released[0], workers=2) as server:
        workers = server.workers()
        server.process.send_signal(number)
        assert server.process.wait(timeout=3) == 0
    assert not any(Path(f"/proc/{one}").exists() for one in workers)


def test_workers_end_with_their_parent(released: Any) -> None:
    with serving(released[0], workers=2) as server:
        workers = server.workers()
        server.process.kill()
        deadline = time.monotonic() + 10
        while any(_runs(one) for one in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_runs(one) for one in workers)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_dies_is_replaced(released: Any, rows: pd.DataFrame) -> None:
    body = {"instances": records(rows.head(1))}
    with serving(released[0], workers=1) as server:
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


def test_ping_answers_while_the_largest_batch_is_predicted(
    released: Any, rows: pd.DataFrame
) -> None:
    table = rows.head(500).to_csv(index=False, na_rep="NA")
    header, _, lines = table.partition("\n")
    body = header + "\n" + lines * (24 * 2**20 // len(lines))
    done: list[Any] = []
    with serving(released[0], workers=1) as server:
        client = threading.Thread(target=lambda: done.append(server.post(body, "text/csv")))
        client.start()
        pings = Server(server.process, server.port)
        longest = 0.0
        while client.is_alive():
            began = time.monotonic()
            assert pings.ask("GET", "/ping").status == 200
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        client.join()
        pings.close()
    (reply,) = done
    assert len(reply.predictions) > 40_000
    assert longest < 2


def test_a_line_of_json_a_request_and_never_the_data(released: Any, rows: pd.DataFrame) -> None:
    secret = "Blackacre"
    row = records(rows.head(1))[0] | {"MSZoning": secret}
    port = find_free_port()
    process = start(released[0], port, workers=1)
    server = Server(process, port)
    assert process.stderr
    process.stderr.readline()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if server.ask("GET", "/ping").status == 200:
                break
        except OSError:
            time.sleep(0.05)
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


def test_the_log_can_be_turned_off(released: Any, rows: pd.DataFrame) -> None:
    port = find_free_port()
    process = start(released[0], port, workers=1, log_requests=False)
    server = Server(process, port)
    assert process.stderr
    process.stderr.readline()
    time.sleep(0.2)
    assert server.post({"instances": records(rows.head(1))}).status == 200
    server.close()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == ""


def test_it_loads_no_training_library() -> None:
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


def test_it_reports_to_nobody(released: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """onnxruntime would, and makes itself an identity below the home folder for that."""
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with serving(released[0]) as server:
        assert server.ask("GET", "/ping").status == 200
    assert list(tmp_path.rglob("*")) == []
