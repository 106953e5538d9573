"""Build the images: `make build`."""

import logging
import os
import subprocess
import time
from typing import Annotated

import typer

from contract.errors import StackError
from contract.names import Image
from contract.paths import PROJECT_ROOT
from contract.settings.loader import mask_password
from endpoints.container_engine import IMAGE_NAMES, find_engine
from scripts.console import main

logger = logging.getLogger(__name__)

BUILD = {
    "docker": ("build",),
    # Its own format is one that SageMaker doesn't take.
    "podman": ("build", "--format=docker"),
}


class BuildError(StackError):
    """The engine could not build an image; it has said why."""


def command(
    images: Annotated[list[Image] | None, typer.Argument(help="Which; all of them else.")] = None,
) -> None:
    """Build the images that serve, train and track, labelled with the commit that they are of."""
    engine = find_engine()
    for image in images or Image:
        build_image(engine, image)


def build_image(engine: str, image: Image, platform: str = "") -> str:
    """Build one of the Dockerfile's targets, and return its name on this machine.

    Args:
        engine: The container engine's command.
        image: Which target.
        platform: Of the machine that is to run it, as `linux/amd64`; by default this one.

    Raises:
        BuildError: The engine has failed; what it said is above.
    """
    name = IMAGE_NAMES[image]
    logger.info(f"Building {name} with {engine}")
    began = time.monotonic()
    source = mask_password(_git("remote", "get-url", "origin"))
    # Not as the Dockerfile's ARG: an older podman takes a layer from its cache though one differs.
    labels = {"revision": revision(), "source": source or "unknown"}
    arguments = [f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()]
    if platform:
        arguments.append(f"--platform={platform}")
    done = subprocess.run(
        [
            engine,
            *BUILD[engine],
            f"--target={image}",
            f"--tag={name}",
            *arguments,
            str(PROJECT_ROOT),
        ],
        # Nor does it take an index, which docker would make of an image and where it comes from.
        env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{name}: {engine} build failed with exit code {done.returncode}")
    logger.info(f"Built {name} in {time.monotonic() - began:.0f} s")
    return name


def revision() -> str:
    """Return the commit, marked where the folder differs from it."""
    head = _git("rev-parse", "HEAD")
    changed = "-dirty" if head and _git("status", "--porcelain") else ""
    return f"{head}{changed}" if head else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT_ROOT), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # no git, no commit
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main(command)
