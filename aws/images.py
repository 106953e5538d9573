"""The images in a stage's ECR repositories: find, protect and record them.

An image is tagged by its content, `content-<digest>` (aws/image_content.py). One that something
uses gets the tag `release-<digest>` as well, because the repositories' lifecycle rules
(infra/base/storage.py) expire all others in the end.
"""

import logging

from aws.account import AwsAccount, aws_errors
from aws.image_content import image_content_tag
from contract.errors import InfraError
from contract.names import (
    REPOSITORY_OUTPUTS,
    Image,
    StackName,
    image_platform,
    make_command,
    repository_name,
)

logger = logging.getLogger(__name__)

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
"""The only type of manifest that SageMaker accepts: neither an image index nor OCI's."""


def find_image(account: AwsAccount, image: Image) -> str:
    """Return the URI with the digest of the image of this checkout.

    Raises:
        InfraError: ECR doesn't have it.
    """
    uri = repository_uri(account, image)
    if digest := find_image_digest(account, image):
        return f"{uri}@{digest}"
    tag = image_content_tag(image, image_platform(account.stage, image))
    raise InfraError(
        f"{uri} has no {image} image of this checkout ({tag}); "
        f"run {make_command(account.stage, f'build-and-push ARGS={image}')}"
    )


def find_image_digest(account: AwsAccount, image: Image) -> str:
    """Return the digest of the image of this checkout, or "" if ECR doesn't have it."""
    tag = image_content_tag(image, image_platform(account.stage, image))
    return find_digest(account, image, tag)


def protect_image(account: AwsAccount, image: Image, digest: str) -> None:
    """Tag an image as released, so that no lifecycle rule expires it.

    Call this before anything is told to use the image. Protecting it again changes nothing.

    Raises:
        InfraError: ECR doesn't have the image, or denies the request.
    """
    ecr, name = account.client("ecr"), repository_name(account.stage, image)
    if find_digest(account, image, release_tag(digest)) == digest:
        return
    with aws_errors(name):
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-retag.html: the manifest
        # that BatchGetImage returns, under a new tag.
        response = ecr.batch_get_image(
            repositoryName=name,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=[MANIFEST_TYPE],
        )
        if not response["images"]:
            advice = make_command(account.stage, f"build-and-push ARGS={image}")
            raise InfraError(f"{name} has no image {digest}; run {advice}")
        (found, *_) = response["images"]
        try:
            ecr.put_image(
                repositoryName=name,
                imageManifest=found["imageManifest"],
                imageManifestMediaType=MANIFEST_TYPE,
                imageTag=release_tag(digest),
                imageDigest=digest,
            )
        except (
            ecr.exceptions.ImageAlreadyExistsException,
            ecr.exceptions.ImageTagAlreadyExistsException,
        ):  # another command has tagged it in the meantime
            return
    logger.debug("Tagged %s@%s as %s", name, digest, release_tag(digest))


def record_image(account: AwsAccount, image: Image, digest: str) -> None:
    """Protect an image, then record its digest for later deployments.

    Raises:
        InfraError: ECR doesn't have the image, or AWS denies a request.
    """
    protect_image(account, image, digest)
    if account.image_digest(image) != digest:
        account.put_image_digest(image, digest)


def repository_uri(account: AwsAccount, image: Image) -> str:
    """Return the URI of an image's repository, without a tag.

    Raises:
        InfraError: The stage is not deployed, or AWS denies the request.
    """
    return account.outputs(StackName.BASE)[REPOSITORY_OUTPUTS[image]]


def find_digest(account: AwsAccount, image: Image, tag: str) -> str:
    """Return the digest of a tag, or an empty string if the repository doesn't have it.

    Raises:
        InfraError: AWS denies the request.
    """
    ecr, name = account.client("ecr"), repository_name(account.stage, image)
    with aws_errors(name):
        try:
            found = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        except ecr.exceptions.ImageNotFoundException:
            return ""
    return str(found["imageDetails"][0]["imageDigest"])


def release_tag(digest: str) -> str:
    """Return the tag of an image that something uses: `release-0123456789abcdef`."""
    return f"release-{digest.partition(':')[2][:16]}"
