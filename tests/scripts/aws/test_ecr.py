"""Pushing images to the emulated ECR, whose registry is a real one that requires a password."""

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from aws.account import AwsAccount
from aws.images import MANIFEST_TYPE, find_digest, find_image, release_tag
from contract.errors import InfraError, SettingsError
from contract.names import NO_IMAGE, Image, StackName, StackOutput, repository_name
from contract.paths import PROJECT_ROOT
from contract.settings.stage import Platform
from endpoints.container_engine import NoContainerEngineError
from scripts.aws import ecr
from scripts.aws.registry import Repository
from scripts.local.images import BuildError
from tests.emulator.account import Account, emulated_account
from tests.emulator.permissions import calls_by, calls_without_permission
from tests.images import build_small, engine, needs_engine
from tests.infra.commands import make
from tests.infra.conftest import stage_with
from tests.infra.stacks import deployed_account
from tests.registry import PASSWORD, Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_engine]
DEV = stage_with("dev", {})
SERVE = repository_name(DEV, Image.SERVE)
BASE_LAYER = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def account(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with deployed_account(folder, DEV, registry=registry.address) as account:
        yield account


@pytest.fixture
def aws_account(account: Account, monkeypatch: pytest.MonkeyPatch) -> AwsAccount:
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    return AwsAccount(DEV)


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that replaces the project's image by a small one; it returns its content tag."""

    def replace(layer: bytes = b"code") -> str:
        tag = f"content-{secrets.token_hex(8)}"
        image = build_small(f"localhost/stack-test:{tag}", tmp_path, BASE_LAYER, layer)
        monkeypatch.setattr(ecr, "image_content_tag", lambda *_: tag)
        monkeypatch.setattr(ecr, "build_image", lambda *_: image)
        return tag

    return replace


def test_make_build_and_push_records_the_image_as_the_deploying_role(
    account: Account, aws_account: AwsAccount
) -> None:
    """The project's own serving image, as a user pushes it."""
    role = aws_account.outputs(StackName.BASE)[StackOutput.DEPLOYING_ROLE]
    command = ("build-and-push", "ARGS=serve")

    output = make(account, *command, **account.credentials(role))

    uri = find_image(aws_account, Image.SERVE)
    digest = uri.partition("@")[2]
    assert uri in output.splitlines()
    assert aws_account.image_digest(Image.SERVE) == digest
    assert find_digest(aws_account, Image.SERVE, release_tag(digest)) == digest
    assert "ecr:PutImage" in calls_by(account, role)
    assert not calls_without_permission(account, role)
    assert "Building" not in make(account, *command, **account.credentials(role))


def test_image_is_pushed_once_with_the_manifest_that_sagemaker_accepts(
    aws_account: AwsAccount,
    registry: Registry,
    content: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tag = content()

    uri = ecr.build_and_push(aws_account, Image.SERVE)

    manifest = registry.get_manifest(SERVE, tag)
    assert uri == f"{registry.address}/{SERVE}@{manifest.headers['Docker-Content-Digest']}"
    assert manifest.headers["Content-Type"] == manifest.json()["mediaType"] == MANIFEST_TYPE
    assert {layer["mediaType"] for layer in manifest.json()["layers"]} == {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    }
    # It is in ECR now: no engine is needed.
    monkeypatch.setattr(ecr, "find_engine", lambda: pytest.fail("an engine was looked for"))
    assert ecr.build_and_push(aws_account, Image.SERVE) == uri


def test_pushed_image_is_the_one_that_was_built(
    aws_account: AwsAccount, registry: Registry, content: Callable[..., str]
) -> None:
    tag = content()
    uri = ecr.build_and_push(aws_account, Image.SERVE)

    engine("pull", "--quiet", uri)

    image_id = ("image", "inspect", "--format", "{{.Id}}")
    assert engine(*image_id, uri) == engine(*image_id, f"localhost/stack-test:{tag}")


def test_layers_of_the_recorded_image_are_not_sent_again(
    aws_account: AwsAccount, content: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scripts.aws.registry")
    content(b"first")
    uri = ecr.build_and_push(aws_account, Image.TRAIN)
    assert caplog.text.count("Uploading") == 3  # two layers and the configuration
    aws_account.put_image_digest(Image.TRAIN, uri.partition("@")[2])
    caplog.clear()
    content(b"second")

    ecr.build_and_push(aws_account, Image.TRAIN)

    assert caplog.text.count("Uploading") == 2  # the changed layer and the configuration
    aws_account.put_image_digest(Image.TRAIN, NO_IMAGE)


@pytest.mark.parametrize("digest", ["sha256:" + "00" * 32, "unknown"])
def test_missing_recorded_image_does_not_prevent_a_push(
    aws_account: AwsAccount, content: Callable[..., str], digest: str
) -> None:
    content()
    aws_account.put_image_digest(Image.TRAIN, digest)

    assert "@sha256:" in ecr.build_and_push(aws_account, Image.TRAIN)

    aws_account.put_image_digest(Image.TRAIN, NO_IMAGE)


def test_image_for_another_platform_is_not_pushed(
    aws_account: AwsAccount, registry: Registry, content: Callable[..., str]
) -> None:
    tag = content()
    other = Platform.ARM64 if os.uname().machine == "x86_64" else Platform.AMD64
    instance_type = "ml.m6g.large" if other == Platform.ARM64 else "ml.m5.large"
    aws_account.stage = stage_with("dev", {"endpoint_instance_type": instance_type})

    with pytest.raises(InfraError, match=rf"built an image for linux/.*runs serve on {other}"):
        ecr.build_and_push(aws_account, Image.SERVE)

    assert registry.get_manifest(SERVE, tag).status_code == 404


def test_wrong_password_is_reported_in_one_line(
    registry: Registry,
    content: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content()
    monkeypatch.setenv("EMULATED_REGISTRY_PASSWORD", "wrong")
    with emulated_account(tmp_path, registry=registry.address) as account:
        for name, value in account.environment.items():
            monkeypatch.setenv(name, value)
        account.client("ecr").create_repository(repositoryName=SERVE)
        monkeypatch.setattr(ecr, "repository_uri", lambda *_: f"{registry.address}/{SERVE}")

        with pytest.raises(InfraError) as error:
            ecr.build_and_push(AwsAccount(DEV), Image.SERVE)

    assert str(error.value) == (
        f"{registry.address}/{SERVE}: access denied (status 401); check the credentials' "
        "permissions"
    )


def test_password_is_in_no_file_and_in_no_process(
    aws_account: AwsAccount,
    content: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The container engine never gets the password: not even its own configuration has one."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    token = ecr.open_repository(aws_account, Image.SERVE)._token
    content(os.urandom(20 << 20))
    started = time.time()

    with _watched_processes(token, PASSWORD) as found:
        ecr.build_and_push(aws_account, Image.SERVE)

    assert found == []
    home = [Path.home() / name for name in (".docker", ".config", ".finch", ".local/share")]
    folders = (tmp_path, PROJECT_ROOT / ".local", Path("/run"), *home)
    assert [file for file in _changed_files(folders, started) if _contains(file, token)] == []


def _contains(file: Path, token: str) -> bool:
    try:
        content = file.read_bytes()
    except OSError:  # deleted meanwhile
        return False
    return token.encode() in content or PASSWORD.encode() in content


def _changed_files(folders: tuple[Path, ...], since: float) -> Iterator[Path]:
    for folder in folders:
        for root, _, names in os.walk(folder):
            for file in (Path(root, name) for name in names):
                if file.is_file() and not file.is_symlink() and file.stat().st_mtime >= since:
                    yield file


@contextmanager
def _watched_processes(*secrets: str) -> Iterator[list[str]]:
    """Look for secrets in the arguments and the environments of all processes, until the end."""
    found: list[str] = []
    stop = Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        content = (process / name).read_bytes()
                    except OSError:  # it has ended
                        continue
                    found.extend(str(process) for secret in secrets if secret.encode() in content)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def test_change_during_the_build_is_reported_in_one_line(
    aws_account: AwsAccount, content: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content()
    tags = iter(("content-before", "content-after"))
    monkeypatch.setattr(ecr, "image_content_tag", lambda *_: next(tags))

    with pytest.raises(BuildError, match="files were changed during the build"):
        ecr.build_and_push(aws_account, Image.SERVE)


def test_same_content_pushed_by_another_machine_meanwhile_is_used(
    aws_account: AwsAccount, content: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content()
    uri = ecr.build_and_push(aws_account, Image.SERVE)
    found: list[Any] = [""]  # not there yet when this push begins
    monkeypatch.setattr(
        ecr, "find_digest", lambda *arguments: found.pop() if found else find_digest(*arguments)
    )

    def refuse(*_: object) -> str:
        raise InfraError("TAG_INVALID: the tag is immutable")

    monkeypatch.setattr(Repository, "put_manifest", refuse)

    assert ecr.build_and_push(aws_account, Image.SERVE) == uri


def test_missing_engine_is_reported_only_where_an_image_has_to_be_built(
    aws_account: AwsAccount, content: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content()
    monkeypatch.setattr("endpoints.container_engine.ENGINES", ())

    with pytest.raises(NoContainerEngineError, match="install docker, podman or finch"):
        ecr.build_and_push(aws_account, Image.SERVE)


def test_unknown_instance_type_is_refused_before_anything_is_built(
    aws_account: AwsAccount,
) -> None:
    aws_account.stage = stage_with("dev", {"training_instance_type": "ml.t2.medium"})

    with pytest.raises(SettingsError, match=r"stages\.dev\.training_instance_type"):
        ecr.build_and_push(aws_account, Image.TRAIN)
