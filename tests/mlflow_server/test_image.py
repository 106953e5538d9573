"""The `mlflow` image: built, run like its Fargate task, and pushed by `make deploy`."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from aws.account import AwsAccount
from contract.names import Image, StackName, StackOutput, repository_name
from endpoints.ports import find_free_port
from tests.emulator.account import Account, emulated_account
from tests.images import ENGINE, build, engine, needs_engine
from tests.infra.commands import make
from tests.infra.conftest import stage_with
from tests.mlflow_server.postgres import needs_postgres
from tests.mlflow_server.task import Task, call, is_healthy, running_container
from tests.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), needs_engine]
DEV = stage_with("dev", {})


@pytest.fixture(scope="module")
def image() -> str:
    return build(Image.MLFLOW)


def exit_code(name: str) -> str:
    return engine("container", "inspect", "--format", "{{.State.ExitCode}}", name)


@needs_postgres
def test_it_migrates_and_serves_like_the_task(
    image: str, task: Task, tmp_path: Path, as_training: None
) -> None:
    port = find_free_port()
    address = f"http://127.0.0.1:{port}"
    with running_container(image, task, "migrate", port) as migrate:
        assert engine("wait", migrate) == "0", engine("logs", migrate)
    with running_container(image, task, "serve", port) as serve:
        deadline = time.monotonic() + 60
        while not is_healthy(address):
            assert time.monotonic() < deadline, engine("logs", serve)
            time.sleep(0.1)

        path = "experiments/search?max_results=1"
        assert call(address, path).status_code == 401
        assert call(address, path, task.admin).status_code == 200
        assert call(address, path, task.admin, headers={"Host": "evil"}).status_code == 403
        # Artifacts are proxied through the server, and through its only writable folder.
        client = MlflowClient(address)
        run = client.create_run(client.create_experiment("in-the-image"))
        (tmp_path / "table.csv").write_text("a,b\n1,2\n")
        client.log_artifact(run.info.run_id, str(tmp_path / "table.csv"))
        assert client.list_artifacts(run.info.run_id)[0].path == "table.csv"
        _check_isolation(serve)

        started = time.monotonic()
        engine("stop", "--time", "30", serve)
        assert time.monotonic() - started < 30
        assert exit_code(serve) == "0"
        done = subprocess.run([ENGINE, "logs", serve], capture_output=True, text=True, check=False)
        for password in (task.admin[1], task.training[1], task.postgres.password):
            assert password not in done.stdout + done.stderr


def _check_isolation(container: str) -> None:
    """The server isn't root, only it can read the passwords, and its root file system is fixed."""
    script = (
        "import os, glob;"
        "modes = [oct(os.stat(file).st_mode)[-2:] for file in glob.glob('/tmp/*.ini')];"
        "print(os.getuid() > 0, modes)"
    )
    assert engine("exec", container, "python", "-c", script) == "True ['00']"
    write = "open('/opt/stack/new', 'w')"
    assert "ERROR" not in engine("exec", container, "python", "-c", write, check=False)
    assert not engine("exec", container, "ls", "/opt/stack/new", check=False)


def test_idle_stops_after_its_time_and_on_a_signal(image: str) -> None:
    started = time.monotonic()
    engine("run", "--rm", "--user=mlflow", image, "idle", "1")
    assert time.monotonic() - started > 1
    name = engine("run", "--detach", "--user=mlflow", image, "idle", "600")
    try:
        time.sleep(1)
        engine("kill", "--signal", str(int(signal.SIGTERM)), name)
        assert engine("wait", name) == "0"
    finally:
        engine("rm", "--force", name, check=False)


def test_it_contains_the_same_mlflow_version_and_no_training_code(image: str) -> None:
    script = (
        "import importlib.util as u, mlflow, shutil;"
        "names = 'training serving endpoints scripts infra xgboost aws_cdk';"
        "print(mlflow.__version__, [n for n in names.split() if u.find_spec(n)],"
        "[n for n in ('gcc', 'cc', 'make', 'git') if shutil.which(n)])"
    )
    output = engine("run", "--rm", "--entrypoint=python", image, "-c", script)

    assert output == f"{mlflow.__version__} [] []"
    config = json.loads(engine("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["User"] == "mlflow"
    assert not [entry for entry in config["Env"] if "PASSWORD" in entry or "SECRET" in entry]


@pytest.fixture(scope="module")
def registry_account(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An emulated account whose ECR is that registry."""
    folder = tmp_path_factory.mktemp("account")
    with emulated_account(folder, registry=registry.address) as account:
        yield account


@pytest.fixture
def aws_account(registry_account: Account, monkeypatch: pytest.MonkeyPatch) -> AwsAccount:
    """The account as the commands see it."""
    for name, value in registry_account.environment.items():
        monkeypatch.setenv(name, value)
    return AwsAccount(DEV)


def test_make_deploy_pushes_the_image_and_the_service_runs_it(
    registry_account: Account, aws_account: AwsAccount, registry: Registry
) -> None:
    account = registry_account
    make(account, "bootstrap")

    output = make(account, "deploy", "ARGS=--yes")

    repository = repository_name(DEV, Image.MLFLOW)
    assert f"Pushing {registry.address}/{repository}:content-" in output
    digest = aws_account.image_digest(Image.MLFLOW)
    definition = account.client("ecs").describe_task_definition(
        taskDefinition=f"{DEV.prefix}-mlflow"
    )["taskDefinition"]
    (name,) = {container["image"] for container in definition["containerDefinitions"]}
    assert name == f"{registry.address}/{repository}@{digest}"
    # Protected from the lifecycle rules before the service was told to use it.
    (details,) = account.client("ecr").describe_images(
        repositoryName=repository, imageIds=[{"imageDigest": digest}]
    )["imageDetails"]
    assert f"release-{digest[7:23]}" in details["imageTags"]
    # ECS can pull it under the name in the task definition.
    engine("pull", "--quiet", name)
    label = '{{index .Config.Labels "org.opencontainers.image.title"}}'
    assert engine("image", "inspect", "--format", label, name).endswith(" mlflow")
    engine("rmi", name, check=False)
    outputs = aws_account.outputs(StackName.MLFLOW)
    (service,) = account.client("ecs").describe_services(
        cluster=outputs[StackOutput.MLFLOW_CLUSTER],
        services=[outputs[StackOutput.MLFLOW_SERVICE]],
    )["services"]
    assert service["desiredCount"] == DEV.mlflow_tasks


def test_make_build_and_push_prints_the_digest_without_building_again(
    registry_account: Account, aws_account: AwsAccount
) -> None:
    output = make(registry_account, "build-and-push", "ARGS=mlflow")

    uri = aws_account.outputs(StackName.BASE)[StackOutput.MLFLOW_REPOSITORY]
    assert f"{uri}@{aws_account.image_digest(Image.MLFLOW)}" in output.splitlines()
    assert "Building" not in output
