"""Pushing images to a stage's ECR repositories."""

import base64
import logging
import subprocess
import time

from aws.account import AwsAccount, aws_errors
from contract.errors import InfraError
from contract.names import REPOSITORY_OUTPUTS, Image, StackName
from scripts.local.images import build_image, get_revision

logger = logging.getLogger(__name__)

PLATFORM = "linux/amd64"
"""The platform of the images on AWS, whatever machine builds them."""


def build_and_push(engine: str, account: AwsAccount, image: Image) -> str:
    """Build an image and push it under the commit's name; return its URI with the digest.

    Tags are immutable: an image that was pushed from this commit already is not built again.

    Raises:
        StackError: The image can't be built or pushed.
    """
    repository = account.outputs(StackName.BASE)[REPOSITORY_OUTPUTS[image]]
    tag = get_revision()
    if tag.endswith("-dirty"):  # no commit identifies the content: a new tag for each build
        tag = f"{tag}-{int(time.time())}"
    elif digest := _find_digest(account, repository, tag):
        logger.info("%s of %s is already in %s", image, tag[:12], repository)
        return f"{repository}@{digest}"
    _log_in(engine, account, repository)
    local_name = build_image(engine, image, PLATFORM)
    name = f"{repository}:{tag}"
    logger.info("Pushing %s", name)
    _run(engine, "tag", local_name, name)
    _run(engine, "push", name)
    digest = _find_digest(account, repository, tag)
    if not digest:
        raise InfraError(f"{name} was pushed, but ECR does not list it")
    return f"{repository}@{digest}"


def _find_digest(account: AwsAccount, repository: str, tag: str) -> str:
    """Return the digest of a tag, "" where the repository doesn't have it."""
    ecr = account.client("ecr")
    name = repository.partition("/")[2]
    with aws_errors(name):
        try:
            found = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        except ecr.exceptions.ImageNotFoundException:
            return ""
    return str(found["imageDetails"][0]["imageDigest"])


def _log_in(engine: str, account: AwsAccount, repository: str) -> None:
    with aws_errors("the ECR login"):
        response = account.client("ecr").get_authorization_token()
    token = base64.b64decode(response["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    registry = repository.partition("/")[0]
    # The password goes through stdin: every process on the machine can read arguments.
    _run(engine, "login", "--username", user, "--password-stdin", registry, stdin=password)


def _run(engine: str, *arguments: str, stdin: str | None = None) -> None:
    logger.debug("Running %s %s", engine, " ".join(arguments))
    result = subprocess.run([engine, *arguments], input=stdin, text=True, check=False)
    if result.returncode:
        raise InfraError(f"{engine} {arguments[0]} failed; its output above names the reason")
