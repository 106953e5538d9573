"""Building the container images with docker, podman or finch."""

import logging
import os
import subprocess
import time

from contract.errors import StackError
from contract.git import get_commit, git
from contract.names import Image
from contract.paths import PROJECT_ROOT
from contract.settings.loader import mask_password
from endpoints.container_engine import IMAGE_NAMES

logger = logging.getLogger(__name__)

BUILD_COMMANDS = {
    "docker": ("build",),
    # So that the local image has the same format as the pushed one; podman's default is OCI.
    "podman": ("build", "--format=docker"),
    # Finch runs nerdctl, whose options are docker's:
    # https://github.com/containerd/nerdctl/blob/main/docs/command-reference.md#whale-nerdctl-build
    "finch": ("build",),
}


class BuildError(StackError):
    """The container engine failed to build an image; its own output precedes the message."""


def build_image(engine: str, image: Image, platform: str = "", tag: str = "latest") -> str:
    """Build one of the Dockerfile's targets, labeled with the commit; return its local name.

    Args:
        engine: The container engine's command.
        image: The target.
        platform: The platform to build for, such as `linux/amd64`; by default this machine's.
        tag: The tag of the local name.

    Raises:
        BuildError: The build failed.
    """
    name = f"{IMAGE_NAMES[image]}:{tag}"
    logger.info("Building %s with %s", name, engine)
    start = time.monotonic()
    command = _build_command(engine, image, name, platform)
    logger.debug("Running %s", " ".join(command))
    result = subprocess.run(
        command,
        # Docker would create an image index otherwise, to attach a provenance attestation.
        env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        check=False,
    )
    if result.returncode:
        raise BuildError(f"{name}: {engine} build failed with exit code {result.returncode}")
    logger.info("Built %s in %.0f s", name, time.monotonic() - start)
    return name


def _build_command(engine: str, image: Image, name: str, platform: str) -> list[str]:
    # Labels, not arguments of the Dockerfile: older versions of podman reuse a cached layer even
    # where an ARG differs.
    source = mask_password(git("remote", "get-url", "origin")) or "unknown"
    labels = {"revision": get_commit() or "unknown", "source": source}
    return [
        engine,
        *BUILD_COMMANDS[engine],
        f"--target={image}",
        f"--tag={name}",
        *(f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()),
        *([f"--platform={platform}"] if platform else []),
        str(PROJECT_ROOT),
    ]
