"""Finding, protecting and recording images, on the images that the emulated ECR keeps itself."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aws import images
from aws.account import AwsAccount
from aws.image_content import image_content_tag
from aws.images import MANIFEST_TYPE, find_image, protect_image, record_image
from contract.errors import InfraError
from contract.names import NO_IMAGE, Image, image_platform, repository_name
from tests.emulator.account import Account
from tests.infra.conftest import stage_with
from tests.infra.stacks import deployed_account

DEV = stage_with("dev", {})
NAME = repository_name(DEV, Image.TRAIN)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with deployed_account(tmp_path_factory.mktemp("account"), DEV) as account:
        yield account


@pytest.fixture
def aws_account(account: Account, monkeypatch: pytest.MonkeyPatch) -> AwsAccount:
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    return AwsAccount(DEV)


def _put_image(account: Account, tag: str) -> str:
    """Push an image and return its digest."""
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1}
    digest = f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": []}
    account.client("ecr").put_image(
        repositoryName=NAME,
        imageManifest=json.dumps({**manifest, "config": {**config, "digest": digest}}),
        imageTag=tag,
        imageDigest=digest,
    )
    return digest


def _tags(account: Account, digest: str) -> list[str]:
    (details,) = account.client("ecr").describe_images(
        repositoryName=NAME, imageIds=[{"imageDigest": digest}]
    )["imageDetails"]
    return sorted(details["imageTags"])


def test_image_of_this_checkout_is_found_by_its_content(
    account: Account, aws_account: AwsAccount
) -> None:
    with pytest.raises(InfraError, match=r"; run make build-and-push ARGS=train STAGE=dev$"):
        find_image(aws_account, Image.TRAIN)
    digest = _put_image(account, image_content_tag(Image.TRAIN, image_platform(DEV, Image.TRAIN)))

    uri = find_image(aws_account, Image.TRAIN)

    assert uri == f"{images.repository_uri(aws_account, Image.TRAIN)}@{digest}"


def test_protected_image_has_a_tag_that_no_rule_expires(
    account: Account, aws_account: AwsAccount
) -> None:
    digest = _put_image(account, "content-1")

    protect_image(aws_account, Image.TRAIN, digest)
    protect_image(aws_account, Image.TRAIN, digest)  # changes nothing

    assert _tags(account, digest) == ["content-1", f"release-{digest[7:23]}"]


def test_missing_image_is_not_protected(aws_account: AwsAccount) -> None:
    with pytest.raises(InfraError, match=r"has no image sha256:00.*; run make build-and-push"):
        protect_image(aws_account, Image.TRAIN, "sha256:" + "00" * 32)


def test_recorded_image_is_protected_first(
    account: Account, aws_account: AwsAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = _put_image(account, "content-2")
    assert aws_account.image_digest(Image.TRAIN) == NO_IMAGE

    with monkeypatch.context() as patch:
        patch.setattr(aws_account, "put_image_digest", lambda *_: pytest.fail("recorded"))
        with pytest.raises(InfraError, match="has no image"):
            record_image(aws_account, Image.TRAIN, "sha256:" + "00" * 32)
    record_image(aws_account, Image.TRAIN, digest)

    assert aws_account.image_digest(Image.TRAIN) == digest
    assert f"release-{digest[7:23]}" in _tags(account, digest)
    monkeypatch.setattr(aws_account, "put_image_digest", lambda *_: pytest.fail("recorded again"))
    record_image(aws_account, Image.TRAIN, digest)


def test_stage_without_stacks_is_reported_in_one_line(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InfraError, match=r"house-prices-prod-base is not deployed .*make deploy"):
        find_image(AwsAccount(stage_with("prod", {})), Image.SERVE)


def test_rejected_request_is_reported_in_one_line(
    aws_account: AwsAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "repository_name", lambda *_: "missing/train")

    with pytest.raises(InfraError, match=r"^missing/train: .*does not exist") as error:
        protect_image(aws_account, Image.TRAIN, "sha256:" + "00" * 32)
    assert "\n" not in str(error.value)
