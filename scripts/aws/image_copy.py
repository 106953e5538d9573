"""Copying an image from one stage's ECR to another's, from registry to registry.

No container engine is needed, and the image keeps its digest: its manifest is copied as it is.
"""

import json
import logging
from functools import partial

from aws.account import AwsAccount
from aws.images import find_digest, release_tag
from contract.errors import InfraError
from contract.names import Image
from scripts.aws.ecr import open_repository
from scripts.aws.registry import Descriptor, sha256_digest

logger = logging.getLogger(__name__)


def copy_image(source: AwsAccount, target: AwsAccount, image: Image, digest: str) -> bool:
    """Copy an image, and return whether the target didn't have it.

    It is there once its manifest is, which is written last, and under the tag that no lifecycle
    rule expires. Layers that were copied before are not copied again.

    Args:
        source: The stage that has the image.
        target: The stage to copy it to.
        image: The image.
        digest: Which one.

    Raises:
        InfraError: The source doesn't have it, or AWS denies a request.
    """
    if find_digest(target, image, release_tag(digest)) == digest:
        return False
    origin, destination = open_repository(source, image), open_repository(target, image)
    logger.info("Copying %s@%s to %s", origin.name, digest, destination.name)
    manifest = origin.get_manifest(digest)
    if sha256_digest(manifest) != digest:
        raise InfraError(f"{origin.name}: the manifest of {digest} was changed")
    content = json.loads(manifest)
    for blob in map(Descriptor.from_json, [content["config"], *content["layers"]]):
        destination.upload_blob(blob, partial(origin.open_blob, blob.digest))
    destination.put_manifest(release_tag(digest), manifest)
    return True
