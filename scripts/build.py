"""Build the images: `make build`."""

import subprocess
import time
from enum import StrEnum
from typing import Annotated

import typer

from contract.errors import StackError
from contract.settings import PROJECT, without_password
from scripts.console import main, say
from scripts.engine import SERVE_IMAGE, TRAIN_IMAGE, find_engine


class Image(StrEnum):
    """The Dockerfile's targets, and all of them."""

    ALL = "all"
    SERVE = "serve"
    TRAIN = "train"


NAMES = {Image.SERVE: SERVE_IMAGE, Image.TRAIN: TRAIN_IMAGE}


class BuildError(StackError):
    """The engine could not build an image; it has said why."""


def command(
    image: Annotated[Image, typer.Argument(help="Which one.")] = Image.ALL,
) -> None:
    """Build the serving and the training image, labelled with the commit that they are of."""
    engine = find_engine()
    for target, name in NAMES.items():
        if image in {target, Image.ALL}:
            say(f"Building {name} with {engine}")
            began = time.monotonic()
            _build(engine, target, name)
            say(f"Built {name} in {time.monotonic() - began:.0f} s")


def _build(engine: str, target: Image, name: str) -> None:
    source = without_password(_git("remote", "get-url", "origin"))
    # Not as the Dockerfile's ARG: an older podman takes a layer from its cache though one differs.
    labels = {"revision": _revision(), "source": source or "unknown"}
    arguments = [f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()]
    done = subprocess.run(
        [engine, "build", f"--target={target}", f"--tag={name}", *arguments, str(PROJECT)],
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{name}: {engine} build failed with exit code {done.returncode}")


def _revision() -> str:
    """Return the commit, marked where the folder differs from it."""
    head = _git("rev-parse", "HEAD")
    changed = "-dirty" if head and _git("status", "--porcelain") else ""
    return f"{head}{changed}" if head else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git, no commit
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main(command)
