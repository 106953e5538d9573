"""MLflow's own container commands on this project's models, beside `make build-and-push`.

MLflow calls the commands `docker` and `aws`. Stand-ins replace them: `docker` is the engine that
works on this machine, and `aws` prints the password of the emulated ECR.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from contract.names import Image
from contract.settings.loader import Settings
from endpoints.container_engine import IMAGE_NAMES
from tests.emulator.account import ACCOUNT, emulated_account
from tests.helpers import VENV, train_in_process
from tests.images import ENGINE, build, build_small, engine, needs_engine
from tests.registry import Registry
from training.release import release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), needs_engine]
BASE = "localhost/stack-test:python"
"""In the place of `python:<version>-slim`."""
BASE_DOCKERFILE = f"""\
# It has the packages of the models already, whose installation would take minutes.
FROM {IMAGE_NAMES[Image.TRAIN]}
# The pip that a model pins trusts only its own certificates, not those of this machine's network.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN pip --python /opt/venv/bin/python install --quiet pip
"""
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
DOCKER = """\
#!/bin/sh
if [ "$1" = build ]; then
    cp Dockerfile '{folder}/Dockerfile'
    [ -n "$ONLY_GENERATE" ] && exit 0
    sed -i 's|^FROM python:.*|FROM {base}|' Dockerfile
fi
for argument in "$@"; do
    shift
    set -- "$@" "$(printf %s "$argument" | sed 's|{ecr}|{registry}|')"
done
exec '{engine}' "$@"
"""
AWS = """\
#!{python}
import base64, sys, boto3
assert sys.argv[1:] == ["ecr", "get-login-password"], sys.argv
(data,) = boto3.client("ecr").get_authorization_token()["authorizationData"]
print(base64.b64decode(data["authorizationToken"]).decode().partition(":")[2])
"""
ASK = """\
import sys, urllib.request
content_type = {"Content-Type": "text/csv"}
url = "http://127.0.0.1:8080/invocations"
request = urllib.request.Request(url, sys.stdin.buffer.read(), content_type)
print(urllib.request.urlopen(request, timeout=120).read().decode())
"""
PING = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ping', timeout=5)"


def _write_commands(folder: Path, registry: str = "unused") -> dict[str, str]:
    """Write the stand-ins and return the environment that finds them."""
    values = {"folder": folder, "base": BASE, "ecr": ECR, "registry": registry, "engine": ENGINE}
    scripts = {"docker": DOCKER.format(**values), "aws": AWS.format(python=sys.executable)}
    (folder / "bin").mkdir()
    for name, text in scripts.items():
        file = folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def _run_mlflow(
    arguments: Sequence[str], environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(VENV / "mlflow"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def _predict(image: str, rows: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Run an image without a network, and request predictions from inside of it."""
    # MLflow's server has fixed ports, which other programs of this machine may use.
    container = engine("run", "--detach", "--network=none", image)
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(
            [ENGINE, "exec", container, "python", "-c", PING], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, engine("logs", container)
            time.sleep(0.5)
        done = subprocess.run(
            [ENGINE, "exec", "--interactive", container, "python", "-c", ASK],
            input=rows.to_csv(index=False, na_rep="NA"),  # as in data/test.csv
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, engine("logs", container)
    finally:
        engine("rm", "--force", container, check=False)
    predictions = json.loads(done.stdout)["predictions"]
    # The ONNX flavor has named outputs.
    return np.array([next(iter(p.values())) if isinstance(p, dict) else p for p in predictions])


@pytest.fixture
def base_image(tmp_path: Path) -> str:
    build(Image.TRAIN)
    (tmp_path / "base").mkdir()
    (tmp_path / "base/Dockerfile").write_text(BASE_DOCKERFILE)
    engine("build", f"--tag={BASE}", str(tmp_path / "base"))
    return BASE


def _read_rows(settings: Settings) -> pd.DataFrame:
    test = settings.resolve_path(settings.data.test)
    rows = pd.read_csv(test, keep_default_na=False, na_values=["NA", ""])[:20]
    # pandas takes a column without any value for one of numbers.
    return rows.astype(dict.fromkeys(rows.columns[rows.isna().all()], "str"))


def test_mlflow_builds_containers_of_a_run_and_of_a_registered_model(
    settings: Settings, base_image: str, tmp_path: Path
) -> None:
    """Both are built by one test, because they share most layers."""
    train_in_process(settings)
    released = release(settings)
    environment = _write_commands(tmp_path) | {"MLFLOW_TRACKING_URI": settings.tracking_uri}
    mlflow.set_tracking_uri(settings.tracking_uri)
    rows = _read_rows(settings)
    tracked = f"runs:/{released.manifest.run_id}/model"
    expected = mlflow.pyfunc.load_model(tracked).predict(rows)
    for uri, name in ((tracked, "run"), (f"models:/{settings.release.model}/1", "registered")):
        image = f"localhost/stack-test:mlflow-{name}"

        done = _run_mlflow(
            ["models", "build-docker", "-m", uri, "-n", image, "--env-manager", "local"],
            environment,
        )

        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        assert (tmp_path / "Dockerfile").read_text().count("\nFROM python:3.") == 1
        np.testing.assert_allclose(_predict(image, rows), expected, rtol=1e-5)


def test_mlflow_pushes_an_image_to_ecr(registry: Registry, tmp_path: Path) -> None:
    """`mlflow sagemaker build-and-push-container --no-build`."""
    environment = _write_commands(tmp_path, registry.address)
    build_small("localhost/stack-test-mlflow", tmp_path, b"content")
    engine("tag", "localhost/stack-test-mlflow", "stack-test-mlflow")
    # `docker login` writes the password to a file; this one is deleted with the test's folder.
    login = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"), "DOCKER_CONFIG": str(tmp_path)}
    (tmp_path / "account").mkdir()
    with emulated_account(tmp_path / "account", registry=registry.address) as account:
        done = _run_mlflow(
            [
                *("sagemaker", "build-and-push-container", "--no-build", "--push"),
                *("--container", "stack-test-mlflow"),
            ],
            environment | login | account.environment,
        )

        assert done.returncode == 0, done.stderr
        (details,) = account.client("ecr").describe_images(
            repositoryName="stack-test-mlflow", imageIds=[{"imageTag": mlflow.__version__}]
        )["imageDetails"]
    manifest = registry.get_manifest("stack-test-mlflow", mlflow.__version__)
    assert manifest.headers["Docker-Content-Digest"] == details["imageDigest"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("sagemaker", "build-and-push-container", "--build", "--no-push"),
            ("C._init(sys.argv[1], 'virtualenv')", "MLFLOW_DISABLE_ENV_CREATION=False"),
        ),
        (
            ("models", "build-docker"),
            ("C._serve('virtualenv')", "MLFLOW_DISABLE_ENV_CREATION=True"),
        ),
    ],
)
def test_dockerfile_that_needs_the_internet_is_generated(
    tmp_path: Path, arguments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """With MLflow's default environment manager: Ubuntu, and pyenv from GitHub."""
    environment = _write_commands(tmp_path) | {"ONLY_GENERATE": "1"}

    done = _run_mlflow(arguments, environment)

    assert done.returncode == 0, done.stderr
    text = (tmp_path / "Dockerfile").read_text()
    assert text.startswith("# Build an image that can serve mlflow models.\nFROM ubuntu:24.04\n")
    assert f"RUN pip install mlflow=={mlflow.__version__}" in text
    assert "https://github.com/pyenv/pyenv.git" in text
    for line in expected:
        assert line in text
