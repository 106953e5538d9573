"""Copying a release, and the images that it names, from one stage to another.

The client reads from one stage and writes to the other, each with credentials of its own: neither
stage has to trust the other one, and they may be in different accounts and regions.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cloudpathlib import S3Client
from cloudpathlib.enums import FileCacheMode

from aws.account import AwsAccount
from contract.errors import ReleaseError
from contract.names import BucketPrefix, Image, StackName, StackOutput
from contract.release import Manifest
from contract.release_store import ReleaseStore
from scripts.aws.image_copy import copy_image

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseCopy:
    """What a call of `copy_release` did."""

    manifest: Manifest
    digest: str
    """SHA-256 of the manifest, in hex."""
    store: str
    """The URI of the target's release store."""
    changed: bool
    """Whether anything was missing in the target."""
    is_champion: bool
    """Whether the release is the target's champion."""


def copy_release(
    source: AwsAccount, target: AwsAccount, model: str, version: str = ""
) -> ReleaseCopy:
    """Copy a release under its version; a second call changes nothing.

    The images are copied first, then the files, and the manifest last: what is not complete is not
    visible in the target. The release becomes the champion there if there is none.

    Args:
        source: The stage that has the release.
        target: The stage to copy it to.
        model: The model's name.
        version: The version; by default the source's champion.

    Raises:
        ReleaseError: The source has no such release, or one of its files was changed; or the target
            has another release of the same version.
        InfraError: A stage is not deployed, lacks an image, or AWS denies a request.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        origin = _open_store(source, model, scratch / "source")
        destination = _open_store(target, model, scratch / "target")
        version = version or origin.get_champion() or ""
        if not version:
            name = source.stage.name
            raise ReleaseError(f"{name} has no champion of {model} to copy; name one by VERSION=")
        manifest, digest = origin.load_manifest(version)
        is_new = version not in destination.list_versions()
        if not is_new:
            _require_same(destination, version, digest, source, target)
        copied = [
            copy_image(source, target, _image(name, version), image_digest)
            for name, image_digest in manifest.images.items()
        ]
        if is_new:
            logger.info("Copying %s version %s to %s", model, version, destination.uri)
            origin.download(version, scratch / "release")
            destination.add(scratch / "release")
        champion = destination.get_champion()
        if champion is None:
            destination.promote(version)
        return ReleaseCopy(
            manifest,
            digest,
            store=destination.uri,
            changed=is_new or champion is None or any(copied),
            is_champion=champion in {None, version},
        )


def _open_store(account: AwsAccount, model: str, cache: Path) -> ReleaseStore:
    bucket = account.outputs(StackName.BASE)[StackOutput.ARTIFACT_BUCKET]
    client = S3Client(
        boto3_session=account.session,
        local_cache_dir=cache,
        file_cache_mode=FileCacheMode.persistent,  # the folder is deleted by its owner
    )
    return ReleaseStore(f"s3://{bucket}/{BucketPrefix.RELEASES.rstrip('/')}", model, client)


def _require_same(
    store: ReleaseStore, version: str, digest: str, source: AwsAccount, target: AwsAccount
) -> None:
    """Refuse a version that is another release in the target."""
    _, existing = store.load_manifest(version)
    if existing != digest:
        raise ReleaseError(
            f"{store.model} version {version} of {target.stage.name} is another release (sha256 "
            f"{existing[:12]}, not {digest[:12]}); versions are never replaced: release the model "
            f"in {source.stage.name} again, under a version that {target.stage.name} doesn't have "
            f"(its latest is {store.list_versions()[-1]}), and copy that one"
        )


def _image(name: str, version: str) -> Image:
    try:
        return Image(name)
    except ValueError:
        raise ReleaseError(f"version {version} names an unknown image, {name}") from None
