"""Build images and push them to a stage's repositories: `make build-and-push`, `make deploy`."""

import base64
import logging
import subprocess
import time
from typing import Annotated

import typer

from contract.errors import InfraError
from contract.names import REPOSITORY_OUTPUTS, Image, StackName
from contract.settings.loader import load_settings
from endpoints.container_engine import find_engine
from scripts.aws.account import Account, errors
from scripts.build import build_image, revision
from scripts.console import main

logger = logging.getLogger(__name__)

PLATFORM = "linux/amd64"
"""What images run on in AWS, whatever machine they are built on."""


def command(
    images: Annotated[list[Image] | None, typer.Argument(help="Which; all of them else.")] = None,
) -> None:
    """Build images and push them to a stage's repositories, under the commit's name."""
    account = Account(load_settings().get_stage())
    engine, uris = find_engine(), account.outputs(StackName.BASE)
    for image in images or Image:
        digest = push(engine, account, image)
        print(f"{uris[REPOSITORY_OUTPUTS[image]]}@{digest}")


def push(engine: str, account: Account, image: Image) -> str:
    """Return the digest of an image of this commit in the stage's repository.

    Tags never move there: one that was pushed from this commit before is taken as it is.

    Raises:
        StackError: It can't be built or pushed.
    """
    repository = account.outputs(StackName.BASE)[REPOSITORY_OUTPUTS[image]]
    tag = revision()
    if tag.endswith("-dirty"):  # its content is nobody's: a tag of its own each time
        tag = f"{tag}-{int(time.time())}"
    elif digest := _digest(account, repository, tag):
        logger.info(f"{image} of {tag[:12]} is in {repository} already")
        return digest
    _log_in(engine, account, repository)
    local = build_image(engine, image, PLATFORM)
    name = f"{repository}:{tag}"
    logger.info(f"Pushing {name}")
    _run(engine, "tag", local, name)
    _run(engine, "push", name)
    digest = _digest(account, repository, tag)
    if not digest:
        raise InfraError(f"{name} was pushed, and isn't there")
    return digest


def _digest(account: Account, repository: str, tag: str) -> str:
    ecr = account.client("ecr")
    try:
        found = ecr.describe_images(
            repositoryName=repository.partition("/")[2], imageIds=[{"imageTag": tag}]
        )
    except ecr.exceptions.ImageNotFoundException:
        return ""
    return str(found["imageDetails"][0]["imageDigest"])


def _log_in(engine: str, account: Account, repository: str) -> None:
    with errors("a login to ECR"):
        (given,) = account.client("ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    registry = repository.partition("/")[0]
    # By its input: every process of the machine can read arguments.
    _run(engine, "login", "--username", user, "--password-stdin", registry, text=password)


def _run(engine: str, *arguments: str, text: str | None = None) -> None:
    done = subprocess.run([engine, *arguments], input=text, text=True, check=False)
    if done.returncode:
        raise InfraError(f"{engine} {arguments[0]} has failed; the reason is above")


if __name__ == "__main__":
    main(command)
