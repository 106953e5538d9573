"""The images, built and run by the container engine that is there."""

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
from scripts.build import BUILD
from tests.images import ENGINE, build, engine, needs_engine
from tests.serving.server import Server, bits, records

MB = 10**6
BUILT_FROM = ("Dockerfile", "requirements", "settings.toml", "data", "contract", "training")


pytestmark = [pytest.mark.timeout(900), needs_engine]


@pytest.fixture(scope="module")
def image() -> str:
    return build(Image.SERVE)


@contextmanager
def running(image: str, release: Path, *options: str, arguments: tuple[str, ...]) -> Iterator[str]:
    """A container as SageMaker would start it, and stricter: read-only but for /tmp."""
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
def answering(image: str, release: Path, *options: str) -> Iterator[tuple[str, Server, float]]:
    """The same on this machine's own address; and the seconds from its start to its first 200."""
    port = find_free_port()
    began = time.monotonic()
    options = ("--network=host", f"--env=SAGEMAKER_BIND_TO_PORT={port}", *options)
    with running(image, release, *options, arguments=("--host", "127.0.0.1")) as name:
        server = Server(None, port)  # type: ignore[arg-type]
        while time.monotonic() - began < 30:
            try:
                if server.ask("GET", "/ping").status == 200:
                    break
            except OSError:
                time.sleep(0.02)
        yield name, server, time.monotonic() - began
        server.close()


def test_it_answers_what_the_release_says(image: str, released: Any, rows: pd.DataFrame) -> None:
    known = json.loads((released[0] / "check.json").read_text())
    with answering(image, released[0]) as (name, server, seconds):
        reply = server.post({"instances": known["rows"]})
        assert bits(reply.predictions) == bits(known["predictions"])
        assert len(server.post({"instances": records(rows)}).predictions) == len(rows)
        assert server.ask("GET", "/version").status == 200
        engine("stop", "--time", "30", name)

        assert engine("container", "inspect", "--format", "{{.State.ExitCode}}", name) == "0"
        lines = [one for one in engine("logs", name).splitlines() if one.startswith("{")]
        assert json.loads(lines[0])["rows"] == 20
    assert seconds < 2


def test_it_works_without_a_network(image: str, released: Any) -> None:
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/ping').status)"
    with running(image, released[0], "--network=none", arguments=()) as name:
        deadline = time.monotonic() + 20
        while (answer := engine("exec", name, "python", "-c", ask, check=False)) != "200":
            assert time.monotonic() < deadline, engine("logs", name)
            time.sleep(0.1)
        assert answer == "200"


def test_a_release_that_cannot_be_used_is_one_line(image: str, tmp_path: Path) -> None:
    with running(image, tmp_path, "--network=none", arguments=()) as name:
        assert engine("wait", name) == "2"
        done = subprocess.run([ENGINE, "logs", name], capture_output=True, text=True, check=False)
        assert (done.stdout + done.stderr).strip() == (
            "error: /opt/ml/model: no release: no manifest.json in it"
        )


def test_it_is_small_and_holds_no_training_library(image: str) -> None:
    assert int(engine("image", "inspect", "--format", "{{.Size}}", image)) <= 350 * MB
    look = (
        "import importlib.util as u, shutil, pathlib;"
        "names = 'mlflow pandas sklearn scipy xgboost onnx skops cloudpickle boto3 training';"
        "print([n for n in names.split() if u.find_spec(n)],"
        "[n for n in ('gcc', 'cc', 'make', 'git') if shutil.which(n)],"
        "list(pathlib.Path('/root/.cache').glob('*')), list(pathlib.Path('/tmp').glob('*')))"
    )
    # An image is looked into without what it starts with.
    found = engine("run", "--rm", "--entrypoint=python", image, "-c", look)
    assert found == "[] [] [] []"


def test_it_says_where_it_comes_from(image: str) -> None:
    labels = json.loads(engine("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()

    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["org.opencontainers.image.revision"].startswith(head or "unknown")
    assert labels["org.opencontainers.image.source"]


def test_a_change_of_code_keeps_the_layers_below(image: str, tmp_path: Path) -> None:
    for name in (*BUILT_FROM, "serving", "scripts", ".dockerignore"):
        source = PROJECT_ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    with (tmp_path / "serving/app.py").open("a") as file:
        file.write("\n# changed\n")
    engine(*BUILD[ENGINE], "--target=serve", "--tag=stack-changed", str(tmp_path))
    try:
        of = ["image", "inspect", "--format", "{{json .RootFS.Layers}}"]
        before, after = (json.loads(engine(*of, one)) for one in (image, "stack-changed"))
        same = [one == two for one, two in zip(before, after, strict=True)]
        assert same == sorted(same, reverse=True)
        assert 0 < same.count(False) <= 3
    finally:
        engine("rmi", "stack-changed", check=False)


def test_the_training_image_trains(tmp_path: Path) -> None:
    train = build(Image.TRAIN)
    result = json.loads(
        engine(
            "run",
            "--rm",
            "--network=none",
            train,
            "train",
            "--families=ridge",
            "--json",
        )
    )
    assert result["winner"]["family"] == "ridge"
    assert len(result["leaderboard"]) == 6
