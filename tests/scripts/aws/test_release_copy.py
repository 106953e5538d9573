"""Copying releases between two stages: two accounts, each with a registry of its own.

Each stage is accessed by the profile of its deploying role, as `make copy-release` is called in CI.
"""

import io
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from cloudpathlib import S3Client

from aws.account import AwsAccount
from aws.images import MANIFEST_TYPE, find_digest, release_tag
from contract.errors import InfraError, ReleaseError, SettingsError
from contract.names import BucketPrefix, Image, StackName, StackOutput, repository_name
from contract.release import MANIFEST_FILE
from contract.release_store import ReleaseStore
from contract.settings.stage import Stage
from scripts import copy_release as command
from scripts.aws.ecr import open_repository
from scripts.aws.registry import CONFIG_TYPE, LAYER_TYPE, Descriptor, sha256_digest
from scripts.aws.release_copy import ReleaseCopy, copy_release
from tests.contract.test_release import change, write_release
from tests.emulator.account import Account
from tests.emulator.permissions import calls_by, calls_without_permission
from tests.helpers import run_make
from tests.infra.conftest import stage_with
from tests.infra.stacks import deployed_account
from tests.registry import Registry, running_registry

pytestmark = pytest.mark.slow
DEV, PROD = stage_with("dev", {}), stage_with("prod", {})
MODEL = "house-prices"


@dataclass(frozen=True)
class Side:
    """A stage in an account of its own."""

    stage: Stage
    account: Account
    registry: Registry

    @cached_property
    def aws(self) -> AwsAccount:
        return AwsAccount(self.stage, self.stage.name)

    @property
    def role(self) -> str:
        return self.aws.outputs(StackName.BASE)[StackOutput.DEPLOYING_ROLE]

    def store(self, cache: Path) -> ReleaseStore:
        bucket = self.aws.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET]
        client = S3Client(boto3_session=self.aws.session, local_cache_dir=cache / self.stage.name)
        return ReleaseStore(f"s3://{bucket}/releases", MODEL, client)

    def object_keys(self) -> set[str]:
        """Return the keys of all objects below releases/."""
        bucket = self.aws.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET]
        s3 = self.account.client("s3")
        found = s3.list_objects_v2(Bucket=bucket, Prefix=BucketPrefix.RELEASES)
        return {entry["Key"] for entry in found.get("Contents", [])}

    def push(self, image: Image) -> str:
        """Push an image of two random layers and return its digest."""
        repository = open_repository(self.aws, image)
        blobs = []
        for media_type in (CONFIG_TYPE, LAYER_TYPE, LAYER_TYPE):
            content = secrets.token_bytes(100_000)
            blob = Descriptor(media_type, sha256_digest(content), len(content))
            repository.upload_blob(blob, lambda content=content: io.BytesIO(content))  # type: ignore[misc]
            blobs.append(blob.to_json())
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": blobs[0]}
        content = json.dumps({**manifest, "layers": blobs[1:]}).encode()
        return repository.put_manifest(f"content-{secrets.token_hex(8)}", content)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Both stages; the default credentials are of neither of them."""
    folders = [tmp_path_factory.mktemp(name) for name in ("dev", "prod", "registry", "registry")]
    with (
        running_registry(folders[2]) as near,
        running_registry(folders[3]) as far,
        deployed_account(folders[0], DEV, registry=near.address) as dev,
        deployed_account(folders[1], PROD, registry=far.address) as prod,
        pytest.MonkeyPatch.context() as patch,
    ):
        config = folders[0] / "config"
        patch.setenv("AWS_CONFIG_FILE", str(config))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("STACK_INFRA__ALARM_EMAIL", "team@example.com")
        config.write_text(_profile("dev", dev, {}) + _profile("prod", prod, {}))
        admins = Side(DEV, dev, near), Side(PROD, prod, far)
        roles = [side.account.credentials(side.role) for side in admins]
        config.write_text(_profile("dev", dev, roles[0]) + _profile("prod", prod, roles[1]))
        yield Side(DEV, dev, near), Side(PROD, prod, far)


def _profile(name: str, account: Account, environment: dict[str, str]) -> str:
    variables = environment or account.environment
    return (
        f"[profile {name}]\n"
        f"endpoint_url = {account.address}\n"
        f"aws_access_key_id = {variables['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {variables['AWS_SECRET_ACCESS_KEY']}\n"
        f"aws_session_token = {variables.get('AWS_SESSION_TOKEN', '')}\n"
    )


@pytest.fixture
def source(sides: tuple[Side, Side]) -> Side:
    return sides[0]


@pytest.fixture
def target(sides: tuple[Side, Side]) -> Side:
    return sides[1]


def _release(side: Side, folder: Path, version: str, **images: str) -> str:
    """Add a release to a stage's store and return its digest."""
    written = write_release(folder / f"release-{version}", version, secrets.token_bytes(1000))
    change(written, model=MODEL, images=images)
    return side.store(folder).add(written).digest


def _copy(source: Side, target: Side, version: str = "") -> ReleaseCopy:
    return copy_release(source.aws, target.aws, MODEL, version)


def _copied_images(target: Side, image: Image) -> set[str]:
    response = target.registry.request("GET", f"{repository_name(PROD, image)}/tags/list")
    return set(response.json().get("tags") or [])


# The first release is the champion of dev; the tests after this one use later versions.
def test_champion_and_its_images_are_copied_with_their_digests(
    source: Side, target: Side, tmp_path: Path
) -> None:
    images = {image.value: source.push(image) for image in (Image.TRAIN, Image.SERVE)}
    digest = _release(source, tmp_path, "1", **images)
    source.store(tmp_path).promote("1")
    arguments = ("copy-release", "FROM=dev", "TO=prod")
    profiles = "ARGS=--from-profile dev --to-profile prod"

    done = run_make(*arguments, profiles)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Copied: {MODEL} version 1 (sha256 {digest[:12]})\n")
    assert done.stdout.endswith("It is the champion of prod\n")
    store = target.store(tmp_path)
    assert store.load_manifest("1")[1] == digest
    assert store.download("1", tmp_path / "copy").digest == digest
    assert store.get_champion() == "1"
    for name, image_digest in images.items():
        assert find_digest(target.aws, Image(name), release_tag(image_digest)) == image_digest
        _check_blobs(source, target, Image(name), image_digest)

    again = run_make(*arguments, profiles)

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"Already in prod: {MODEL} version 1")
    assert "Copying" not in again.stderr


def _check_blobs(source: Side, target: Side, image: Image, digest: str) -> None:
    name = repository_name(PROD, image)
    manifest = target.registry.get_manifest(name, digest).json()
    for blob in [manifest["config"], *manifest["layers"]]:
        copied = target.registry.request("GET", f"{name}/blobs/{blob['digest']}").content
        assert sha256_digest(copied) == blob["digest"]


def test_later_release_is_copied_beside_the_champion(
    source: Side, target: Side, tmp_path: Path
) -> None:
    digest = _release(source, tmp_path, "2")

    copied = _copy(source, target, "2")

    assert (copied.changed, copied.is_champion, copied.digest) == (True, False, digest)
    store = target.store(tmp_path)
    assert (store.list_versions(), store.get_champion()) == (["1", "2"], "1")


def test_another_release_of_the_same_version_is_refused_before_anything_is_copied(
    source: Side, target: Side, tmp_path: Path
) -> None:
    existing = _release(target, tmp_path / "prod", "3")
    image = source.push(Image.TRAIN)
    digest = _release(source, tmp_path, "3", train=image)

    with pytest.raises(ReleaseError) as error:
        _copy(source, target, "3")

    assert str(error.value) == (
        f"{MODEL} version 3 of prod is another release (sha256 {existing[:12]}, not "
        f"{digest[:12]}); versions are never replaced: release the model in dev again, under a "
        "version that prod doesn't have (its latest is 3), and copy that one"
    )
    assert release_tag(image) not in _copied_images(target, Image.TRAIN)
    assert target.store(tmp_path).load_manifest("3")[1] == existing


def test_interrupted_copy_is_invisible_and_continued(
    source: Side, target: Side, tmp_path: Path
) -> None:
    image = source.push(Image.TRAIN)
    _release(source, tmp_path, "4", train=image)
    before = target.object_keys()
    denied = {"action": "s3:PutObject", "code": "AccessDenied", "status": 403, "message": "not now"}
    target.account.inject_faults(denied)

    with pytest.raises(ReleaseError, match="not now"):
        _copy(source, target, "4")

    assert release_tag(image) in _copied_images(target, Image.TRAIN)  # images come first
    assert target.object_keys() == before
    target.account.inject_faults()
    assert _copy(source, target, "4").changed
    assert "4" in target.store(tmp_path).list_versions()
    assert not _copy(source, target, "4").changed


def test_release_whose_image_is_missing_is_not_copied(
    source: Side, target: Side, tmp_path: Path
) -> None:
    missing = "sha256:" + "00" * 32
    _release(source, tmp_path, "5", train=source.push(Image.TRAIN), serve=missing)

    with pytest.raises(InfraError, match=r"dev/serve: GET failed \(404 MANIFEST_UNKNOWN"):
        _copy(source, target, "5")

    assert "5" not in target.store(tmp_path).list_versions()
    assert not [key for key in target.object_keys() if f"/{MODEL}/5/" in key]


def test_changed_file_is_not_copied(source: Side, target: Side, tmp_path: Path) -> None:
    _release(source, tmp_path, "6")
    (source.store(tmp_path / "other")._root / "6" / "model.onnx").write_bytes(b"changed")

    with pytest.raises(ReleaseError, match=r"model\.onnx doesn't match its SHA-256"):
        _copy(source, target, "6")

    assert not [key for key in target.object_keys() if f"/{MODEL}/6/" in key]


def test_unknown_image_is_refused(source: Side, target: Side, tmp_path: Path) -> None:
    _release(source, tmp_path, "7", other=source.push(Image.TRAIN))

    with pytest.raises(ReleaseError, match="version 7 names an unknown image, other"):
        _copy(source, target, "7")


def test_missing_version_is_reported_in_one_line(source: Side, target: Side) -> None:
    with pytest.raises(ReleaseError, match=rf"{MODEL}: no version 99 \(available: 1, 2"):
        _copy(source, target, "99")


def test_stage_without_champion_needs_a_version(
    source: Side, target: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReleaseError, match="dev has no champion of other to copy; name one by"):
        copy_release(source.aws, target.aws, "other")


def test_same_stage_is_refused() -> None:
    with pytest.raises(SettingsError, match="FROM and TO are the same stage, dev"):
        command.command("dev", "dev")


def test_unknown_profile_is_reported_in_one_line(sides: tuple[Side, Side]) -> None:
    with pytest.raises(InfraError, match=r"^AWS: The config profile \(staging\) could not be"):
        AwsAccount(DEV, "staging")


def test_missing_stages_are_reported_in_one_line() -> None:
    done = run_make("copy-release", "TO=prod")

    assert done.returncode == 2
    assert "error: Missing option '--from'" in done.stderr
    assert "Traceback" not in done.stderr


def test_deploying_roles_of_both_stages_allow_every_call(source: Side, target: Side) -> None:
    """The tests above called with these roles."""
    assert calls_by(source.account, source.role) == {
        *("sts:GetCallerIdentity", "cloudformation:DescribeStacks"),
        *("ecr:GetAuthorizationToken", "s3:GetObject", "s3:ListBucket", "s3:PutObject"),
    }
    assert {"ecr:DescribeImages", "s3:PutObject"} <= calls_by(target.account, target.role)
    for side in (source, target):
        assert not calls_without_permission(side.account, side.role)


def test_manifest_is_written_last(source: Side, target: Side) -> None:
    puts = [
        call["path"]
        for call in target.account.calls()
        if call["action"] == "PutObject" and f"/{MODEL}/2/" in call["path"]
    ]
    assert len(puts) > 1
    assert puts[-1].endswith(f"/{MANIFEST_FILE}")
