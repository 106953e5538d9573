"""The container engine of this machine: the first of docker, podman and finch that works."""

import logging
import shutil
import subprocess

from contract.errors import StackError
from contract.names import Image

logger = logging.getLogger(__name__)

ENGINES = ("docker", "podman", "finch")
IMAGE_NAMES = {image: f"sagemaker-mlflow-stack-{image}" for image in Image}
"""The local name of each image."""


class NoContainerEngineError(StackError):
    """No container engine works on this machine."""


def find_engine() -> str:
    """Return the command of the first container engine that works.

    Raises:
        NoContainerEngineError: None of them works.
    """
    for name in ENGINES:
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            logger.debug("Using the container engine %s", name)
            return name
    raise NoContainerEngineError(
        "no container engine works on this machine; install docker, podman or finch"
    )
