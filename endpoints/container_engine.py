"""The container engine of this machine: docker where it works, else podman."""

import shutil
import subprocess

from contract.errors import StackError
from contract.names import Image

ENGINES = ("docker", "podman")
IMAGE_NAMES = {image: f"sagemaker-mlflow-stack-{image}" for image in Image}
"""What the images are called on this machine."""


def find_engine() -> str:
    """Return the command of the container engine that works here.

    Raises:
        StackError: There is none.
    """
    for name in ENGINES:
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            return name
    raise StackError("no container engine works here: docker or podman is needed")
