"""Building images and pushing them to a stage's ECR repositories.

Neither the token for ECR nor the manifest passes through the container engine: the engines differ
in where they look for a token, all of them store it in a file, and some push a manifest that
SageMaker doesn't accept.
"""

import json
import logging
from collections.abc import Mapping
from io import BytesIO

from aws.account import AwsAccount, aws_errors
from aws.image_content import image_content_tag
from aws.images import MANIFEST_TYPE, find_digest, repository_uri
from aws.instance_types import check_instance_type
from contract.errors import InfraError
from contract.names import NO_IMAGE, Image, image_platform, repository_name
from endpoints.container_engine import find_engine
from scripts.aws.registry import (
    CONFIG_TYPE,
    LAYER_TYPE,
    Descriptor,
    Repository,
    sha256_digest,
)
from scripts.local.image_archive import ImageArchive, saved_image
from scripts.local.images import BuildError, build_image

logger = logging.getLogger(__name__)


def build_and_push(account: AwsAccount, image: Image) -> str:
    """Build the image of this checkout and push it, unless ECR has it; return its URI.

    Raises:
        SettingsError: SageMaker doesn't have the instance type that the image is for.
        NoContainerEngineError: The image is not in ECR, and this machine can't build it.
        StackError: The image can't be built or pushed.
    """
    check_instance_type(account.stage, image)
    uri, platform = repository_uri(account, image), image_platform(account.stage, image)
    tag = image_content_tag(image, platform)
    if digest := find_digest(account, image, tag):
        logger.info("%s of this content is already in %s", image, uri)
        return f"{uri}@{digest}"
    engine = find_engine()
    name = build_image(engine, image, platform, tag)
    if image_content_tag(image, platform) != tag:
        raise BuildError(f"{name}: files were changed during the build; run the command again")
    with saved_image(engine, name, platform) as archive:
        if archive.platform != platform:
            raise InfraError(
                f"{name}: {engine} built an image for {archive.platform}, but stage "
                f"{account.stage.name} runs {image} on {platform}; nothing was pushed"
            )
        logger.info("Pushing %s:%s", uri, tag)
        digest = _push(account, image, archive, tag)
    return f"{uri}@{digest}"


def open_repository(account: AwsAccount, image: Image) -> Repository:
    """Return an image's repository with a token that is valid for 12 hours.

    Raises:
        InfraError: AWS denies the request.
    """
    with aws_errors("the ECR login"):
        (login, *_) = account.client("ecr").get_authorization_token()["authorizationData"]
    return Repository(
        login["proxyEndpoint"],
        repository_name(account.stage, image),
        login["authorizationToken"],
        account.ca_bundle,
    )


def _push(account: AwsAccount, image: Image, archive: ImageArchive, tag: str) -> str:
    """Push an image under a tag, with a manifest of the type that SageMaker accepts."""
    repository = open_repository(account, image)
    known = _recorded_layers(account, image, repository)
    layers = [
        known.get(diff_id) or _push_layer(repository, archive, diff_id)
        for diff_id in archive.diff_ids
    ]
    config = Descriptor(CONFIG_TYPE, sha256_digest(archive.config), len(archive.config))
    repository.upload_blob(config, lambda: BytesIO(archive.config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    try:
        return repository.put_manifest(tag, json.dumps(manifest, indent=2).encode())
    except InfraError:
        # Tags are immutable, and another machine may have pushed the same content meanwhile.
        if digest := find_digest(account, image, tag):
            return digest
        raise


def _push_layer(repository: Repository, archive: ImageArchive, diff_id: str) -> Descriptor:
    blob = archive.extract_layer(diff_id)
    layer = Descriptor(LAYER_TYPE, blob.digest, blob.size)
    repository.upload_blob(layer, lambda: blob.file.open("rb"))
    blob.file.unlink()
    return layer


def _recorded_layers(
    account: AwsAccount, image: Image, repository: Repository
) -> Mapping[str, Descriptor]:
    """Return the layers of the recorded image, which most later images share, by their diff ids.

    Their digests are those of compressed layers: without this, each push would compress all of an
    image to learn that most of it is in the repository already.
    """
    digest = account.image_digest(image)
    if digest == NO_IMAGE:
        return {}
    try:
        manifest = json.loads(repository.get_manifest(digest))
        with repository.open_blob(manifest["config"]["digest"]) as config:
            diff_ids = json.loads(config.read())["rootfs"]["diff_ids"]
    except InfraError as error:
        logger.debug("The layers of %s are not reused: %s", digest, error)
        return {}
    return dict(zip(diff_ids, map(Descriptor.from_json, manifest["layers"]), strict=True))
