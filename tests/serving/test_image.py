"""The images, built and run by the installed container engine."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract.names import Image
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from scripts.local.images import BUILD_COMMANDS
from tests.images import ENGINE, build, engine, needs_engine
from tests.serving.server import Client, to_bits, to_records

MB = 10**6
COPIED_FILES = ("Dockerfile", "requirements", "settings.toml", "data", "contract", "training")


pytestmark = [pytest.mark.timeout(900), needs_engine]


@pytest.fixture(scope="module")
def image() -> str:
    return build(Image.SERVE)


@contextmanager
def running_container(
    image: str, release: Path, *options: str, arguments: tuple[str, ...]
) -> Iterator[str]:
    """A container started as SageMaker does, but read-only except for /tmp."""
    mount = f"type=bind,source={release},target=/opt/ml/model,readonly"
    name = engine(
        *("run", "--detach", "--read-only", "--tmpfs=/tmp", f"--mount={mount}"),
        *(*options, image, "serve", *arguments),
    )
    try:
        yield name
    finally:
        engine("rm", "--force", name, check=False)


@contextmanager
def ready_container(
    image: str, release: Path, *options: str
) -> Iterator[tuple[str, Client, float]]:
    """A container on 127.0.0.1, a client, and the seconds from the start to the first 200."""
    port = find_free_port()
    started_at = time.monotonic()
    options = ("--network=host", f"--env=SAGEMAKER_BIND_TO_PORT={port}", *options)
    with running_container(image, release, *options, arguments=("--host", "127.0.0.1")) as name:
        client = Client(port)
        client.wait_until_ready()
        yield name, client, time.monotonic() - started_at
        client.close()


def test_container_predicts_as_the_release(image: str, released: Any, rows: pd.DataFrame) -> None:
    check = json.loads((released[0] / "check.json").read_text())
    with ready_container(image, released[0]) as (name, client, seconds):
        response = client.post({"instances": check["rows"]})
        assert to_bits(response.predictions) == to_bits(check["predictions"])
        assert len(client.post({"instances": to_records(rows)}).predictions) == len(rows)
        assert client.request("GET", "/version").status == 200
        engine("stop", "--time", "30", name)

        assert engine("container", "inspect", "--format", "{{.State.ExitCode}}", name) == "0"
        lines = [line for line in engine("logs", name).splitlines() if line.startswith("{")]
        assert json.loads(lines[0])["rows"] == 20
    assert seconds < 10  # 0.5 s on an idle machine


def test_container_works_without_network(image: str, released: Any) -> None:
    ping = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/ping').status)"
    with running_container(image, released[0], "--network=none", arguments=()) as name:
        deadline = time.monotonic() + 20
        while (status := engine("exec", name, "python", "-c", ping, check=False)) != "200":
            assert time.monotonic() < deadline, engine("logs", name)
            time.sleep(0.1)
        assert status == "200"


def test_invalid_release_is_reported_in_one_line(image: str, tmp_path: Path) -> None:
    with running_container(image, tmp_path, "--network=none", arguments=()) as name:
        assert engine("wait", name) == "2"
        done = subprocess.run([ENGINE, "logs", name], capture_output=True, text=True, check=False)
        assert (done.stdout + done.stderr).strip() == (
            "error: /opt/ml/model: not a release: no manifest.json in it"
        )


def test_image_is_small_and_contains_no_training_library(image: str) -> None:
    assert int(engine("image", "inspect", "--format", "{{.Size}}", image)) <= 350 * MB
    code = (
        "import importlib.util as u, shutil, pathlib;"
        "names = 'mlflow pandas sklearn scipy xgboost onnx skops cloudpickle boto3 training';"
        "print([n for n in names.split() if u.find_spec(n)],"
        "[n for n in ('gcc', 'cc', 'make', 'git') if shutil.which(n)],"
        "list(pathlib.Path('/root/.cache').glob('*')), list(pathlib.Path('/tmp').glob('*')))"
    )
    # The image's own entrypoint would start the server.
    found = engine("run", "--rm", "--entrypoint=python", image, "-c", code)
    assert found == "[] [] [] []"


def test_image_labels_name_its_source(image: str) -> None:
    labels = json.loads(engine("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()

    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["org.opencontainers.image.revision"].startswith(head or "unknown")
    assert labels["org.opencontainers.image.source"]


def test_code_change_keeps_the_layers_below(image: str, tmp_path: Path) -> None:
    for name in (*COPIED_FILES, "serving", "scripts", ".dockerignore"):
        source = PROJECT_ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    with (tmp_path / "serving/app.py").open("a") as file:
        file.write("\n# changed\n")
    engine(*BUILD_COMMANDS[ENGINE], "--target=serve", "--tag=stack-changed", str(tmp_path))
    try:
        inspect = ["image", "inspect", "--format", "{{json .RootFS.Layers}}"]
        before, after = (json.loads(engine(*inspect, tag)) for tag in (image, "stack-changed"))
        same = [old == new for old, new in zip(before, after, strict=True)]
        assert same == sorted(same, reverse=True)
        assert 0 < same.count(False) <= 3
    finally:
        engine("rmi", "stack-changed", check=False)
