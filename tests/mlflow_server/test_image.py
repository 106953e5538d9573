"""The tracking image: built, run as the task runs it, and pushed by `make deploy`."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from contract.errors import InfraError
from contract.names import Image, StackName, StackOutput, image_digest_parameter, repository_name
from contract.paths import PROJECT_ROOT
from endpoints.ports import find_free_port
from scripts import build_and_push
from scripts.aws.account import Account as Reader
from tests.emulator.account import Account, emulated_account
from tests.emulator.registry import DOCKER_MANIFEST, MANIFESTS
from tests.images import ENGINE, build, engine, needs_engine
from tests.infra.commands import make
from tests.infra.conftest import stage_with
from tests.mlflow_server.postgres import find_binaries
from tests.mlflow_server.task import Task, call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_engine]
needs_postgres = pytest.mark.skipif(
    find_binaries() is None, reason="no Postgres here: Debian's package is postgresql"
)
DEV = stage_with("dev", {})


@pytest.fixture(scope="module")
def image() -> str:
    return build(Image.MLFLOW)


@contextmanager
def running(image: str, task: Task, container: str, port: int) -> Iterator[str]:
    """A container as its definition says; its passwords are in no argument."""
    definition, variables = task.containers[container], task.variables(container, port)
    assert definition["readonlyRootFilesystem"] is True
    assert [one["containerPath"] for one in definition["mountPoints"]] == ["/tmp"]  # noqa: S108
    name = engine(
        *("run", "--detach", "--network=host", "--read-only", "--tmpfs=/tmp"),
        *(f"--user={definition['user']}", *(f"--env={name}" for name in variables)),
        *(image, *definition["command"]),
        environment=variables,
    )
    try:
        yield name
    finally:
        engine("rm", "--force", name, check=False)


def _exit_code(name: str) -> str:
    return engine("container", "inspect", "--format", "{{.State.ExitCode}}", name)


@needs_postgres
def test_it_prepares_and_serves_as_the_task_does(
    image: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_training: None
) -> None:
    port = find_free_port()
    address = f"http://127.0.0.1:{port}"
    with running(image, task, "migrate", port) as migrate:
        assert engine("wait", migrate) == "0", engine("logs", migrate)
    with running(image, task, "serve", port) as serve:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{address}/health", timeout=2).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.1)

        path = "experiments/search?max_results=1"
        assert call(address, path).status_code == 401
        assert call(address, path, task.admin).status_code == 200
        assert call(address, path, task.admin, headers={"Host": "evil"}).status_code == 403
        # Artifacts go through it, and by way of its one writable folder.
        client = MlflowClient(address)
        run = client.create_run(client.create_experiment("in-the-image"))
        (tmp_path / "table.csv").write_text("a,b\n1,2\n")
        client.log_artifact(run.info.run_id, str(tmp_path / "table.csv"))
        assert client.list_artifacts(run.info.run_id)[0].path == "table.csv"
        # Not root, and nobody's passwords are for others to read.
        look = "import os, glob; print(os.getuid() > 0, [oct(os.stat(f).st_mode)[-2:] for f in "
        look += "glob.glob('/tmp/*.ini')])"
        assert engine("exec", serve, "python", "-c", look) == "True ['00']"
        write = "open('/opt/stack/new', 'w')"
        assert "ERROR" not in engine("exec", serve, "python", "-c", write, check=False)
        assert not engine("exec", serve, "ls", "/opt/stack/new", check=False)

        began = time.monotonic()
        engine("stop", "--time", "30", serve)
        assert time.monotonic() - began < 30
        assert _exit_code(serve) == "0"
        said = subprocess.run([ENGINE, "logs", serve], capture_output=True, text=True, check=False)
        for password in (task.admin[1], task.training[1], task.postgres.password):
            assert password not in said.stdout + said.stderr


def test_forwarding_waits_and_ends_by_itself(image: str) -> None:
    began = time.monotonic()
    engine("run", "--rm", "--user=mlflow", image, "forward", "1")
    assert time.monotonic() - began > 1
    name = engine("run", "--detach", "--user=mlflow", image, "forward", "600")
    try:
        time.sleep(1)
        engine("kill", "--signal", str(int(signal.SIGTERM)), name)
        assert engine("wait", name) == "0"
    finally:
        engine("rm", "--force", name, check=False)


def test_it_holds_the_one_version_of_mlflow_and_no_training_code(image: str) -> None:
    look = (
        "import importlib.util as u, mlflow, shutil;"
        "names = 'training serving scripts infra xgboost aws_cdk';"
        "print(mlflow.__version__, [n for n in names.split() if u.find_spec(n)],"
        "[n for n in ('gcc', 'cc', 'make', 'git') if shutil.which(n)])"
    )
    found = engine("run", "--rm", "--entrypoint=python", image, "-c", look)

    assert found == f"{mlflow.__version__} [] []"
    config = json.loads(engine("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["User"] == "mlflow"
    assert not [one for one in config["Env"] if "PASSWORD" in one or "SECRET" in one]


# --- Pushed, and deployed by its digest -----------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry, in the place of ECR's."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("no registry here: Debian's package is docker-registry")
    folder, address = tmp_path_factory.mktemp("registry"), f"127.0.0.1:{find_free_port()}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    # No engine asks a registry without TLS otherwise; docker does where it is on this machine.
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation="{address}"\ninsecure=true\n')
    (folder / "auth.json").write_text("{}")
    with (folder / "log").open("w") as log:
        command = [program, "serve", "config.yml"]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    before = dict(os.environ)
    os.environ["CONTAINERS_REGISTRIES_CONF"] = str(folder / "registries.conf")
    os.environ["REGISTRY_AUTH_FILE"] = str(folder / "auth.json")
    os.environ["DOCKER_CONFIG"] = str(folder)
    for _ in range(100):
        try:
            if requests.get(f"http://{address}/v2/", timeout=1).ok:
                break
        except requests.ConnectionError:
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(20)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def pushed_to(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with emulated_account(folder, registry=registry) as account:
        yield account


@pytest.fixture
def reader(pushed_to: Account, monkeypatch: pytest.MonkeyPatch) -> Reader:
    for name, value in pushed_to.environment.items():
        monkeypatch.setenv(name, value)
    return Reader(DEV)


def test_make_deploy_pushes_it_and_the_service_runs_it(
    image: str, pushed_to: Account, reader: Reader, registry: str
) -> None:
    account = pushed_to
    make(account, "bootstrap")

    said = make(account, "deploy", "ARGS=--yes")

    assert f"Pushing {registry}/{repository_name(DEV, Image.MLFLOW)}:" in said
    digest = account.client("ssm").get_parameter(Name=image_digest_parameter(DEV))["Parameter"][
        "Value"
    ]
    found = account.client("ecs").describe_task_definition(taskDefinition=f"{DEV.prefix}-mlflow")[
        "taskDefinition"
    ]
    (name,) = {one["image"] for one in found["containerDefinitions"]}
    assert name == f"{registry}/{repository_name(DEV, Image.MLFLOW)}@{digest}"
    # As SageMaker takes images: no index, and none of the newer kind.
    manifest = requests.get(
        f"http://{registry}/v2/{repository_name(DEV, Image.MLFLOW)}/manifests/{digest}",
        headers={"Accept": ", ".join(MANIFESTS)},
        timeout=10,
    )
    assert manifest.headers["Content-Type"] == DOCKER_MANIFEST
    # It is there under that name, for whoever starts the task.
    engine("pull", "--quiet", name)
    label = '{{index .Config.Labels "org.opencontainers.image.title"}}'
    assert engine("image", "inspect", "--format", label, name).endswith(" tracking")
    engine("rmi", name, check=False)
    tracking = reader.outputs(StackName.MLFLOW)
    (service,) = account.client("ecs").describe_services(
        cluster=tracking[StackOutput.MLFLOW_CLUSTER],
        services=[tracking[StackOutput.MLFLOW_SERVICE]],
    )["services"]
    assert service["desiredCount"] == DEV.mlflow_tasks


def test_make_build_and_push_tells_its_digest(
    image: str, pushed_to: Account, reader: Reader
) -> None:
    said = make(pushed_to, "build-and-push", "ARGS=mlflow")

    uri = reader.outputs(StackName.BASE)[StackOutput.MLFLOW_REPOSITORY]
    assert [line for line in said.splitlines() if line.startswith(f"{uri}@sha256:")]


def test_what_was_pushed_from_a_commit_is_not_pushed_again(
    image: str,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(build_and_push, "revision", lambda: "0123456789abcdef")
    monkeypatch.chdir(PROJECT_ROOT)
    said, digests = [], []
    for _ in range(2):
        digests.append(build_and_push.push(ENGINE, reader, Image.MLFLOW))
        said.append(capfd.readouterr().err)

    assert "Pushing " in said[0]
    assert "is in " in said[1]
    assert "Pushing " not in said[1]
    assert digests[0] == digests[1]
    assert digests[0].startswith("sha256:")


def test_a_registry_that_is_away_is_one_line(
    image: str, reader: Reader, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(build_and_push, "revision", lambda: "a-commit-that-was-never-pushed")
    away = f"127.0.0.1:{find_free_port()}/{repository_name(DEV, Image.MLFLOW)}"
    monkeypatch.setattr(reader, "outputs", lambda _part: {StackOutput.MLFLOW_REPOSITORY: away})

    with pytest.raises(InfraError, match=r"login has failed; the reason is above"):
        build_and_push.push(ENGINE, reader, Image.MLFLOW)
