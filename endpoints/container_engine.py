"""The container engine of this machine: docker if it works, else podman."""

import logging
import shutil
import subprocess

from contract.errors import StackError
from contract.names import Image

logger = logging.getLogger(__name__)

ENGINES = ("docker", "podman")
IMAGE_NAMES = {image: f"sagemaker-mlflow-stack-{image}" for image in Image}
"""The local name of each image."""


def find_engine() -> str:
    """Return the command of the first container engine that works.

    Raises:
        StackError: Neither docker nor podman works.
    """
    for name in ENGINES:
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            logger.debug("Using the container engine %s", name)
            return name
    raise StackError("no container engine works on this machine; install docker or podman")
