"""The container engine of this machine: docker where it works, else podman."""

import shutil
import subprocess

from contract.errors import StackError

ENGINES = ("docker", "podman")
SERVE_IMAGE, TRAIN_IMAGE = "sagemaker-mlflow-stack-serve", "sagemaker-mlflow-stack-train"


def find_engine() -> str:
    """Return the engine's command.

    Raises:
        StackError: There is none that works.
    """
    for name in ENGINES:
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            return name
    raise StackError("no container engine works here: docker or podman is needed")
