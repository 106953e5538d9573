"""Containers of the serving image, by docker where it works and by podman else."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from contract.errors import EndpointError
from contract.names import Image
from contract.paths import SAGEMAKER_MODEL_DIR
from endpoints.container_engine import IMAGE_NAMES, find_engine
from endpoints.ports import HOST

IMAGE = IMAGE_NAMES[Image.SERVE]
ENDPOINT_LABEL, HOME_LABEL = "stack.endpoint", "stack.home"
STOP_SECONDS = 30


class ServingContainers:
    """The container engine of this machine."""

    def __init__(self) -> None:
        """Find it.

        Raises:
            StackError: Neither docker nor podman works.
        """
        self._name = find_engine()

    def image(self) -> str:
        """Return the id of the serving image.

        Raises:
            EndpointError: It isn't built.
        """
        done = self._run("image", "inspect", IMAGE)
        if done.returncode:
            raise EndpointError(f"no image {IMAGE} in {self._name}: make build builds it")
        return str(json.loads(done.stdout)[0]["Id"])

    def start(
        self, name: str, endpoint: Path, release: Path, port: int, environment: Mapping[str, str]
    ) -> None:
        """Start a container that serves a release on this machine's own address.

        Args:
            name: The container's.
            endpoint: The endpoint's folder, with which it is marked.
            release: The release's folder.
            port: Where it is to listen.
            environment: Its variables.

        Raises:
            EndpointError: The engine refuses.
        """
        mount = f"type=bind,source={release},target={SAGEMAKER_MODEL_DIR},readonly"
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        done = self._run(
            *("run", "--detach", f"--name={name}"),
            *(f"--label={ENDPOINT_LABEL}={endpoint}", f"--label={HOME_LABEL}={endpoint.parent}"),
            *("--network=host", "--read-only", "--tmpfs=/tmp", f"--mount={mount}", *variables),
            *(IMAGE, "serve", "--host", HOST, "--port", str(port)),
        )
        if done.returncode:
            raise EndpointError(f"{self._name}: {_last_line(done.stderr)}")

    def runs(self, name: str) -> bool:
        """Tell whether a container is there and hasn't ended."""
        done = self._run("container", "inspect", "--format", "{{.State.Running}}", name)
        return done.stdout.strip() == "true"

    def log(self, name: str) -> str:
        """Return what a container has written."""
        done = self._run("logs", name)
        return done.stdout + done.stderr

    def find(self, label: str, folder: Path) -> list[str]:
        """Return the names of the containers that are marked so, those that have ended as well."""
        mark = f"label={label}={folder}"
        done = self._run("ps", "--all", "--filter", mark, "--format", "{{.Names}}")
        return done.stdout.split()

    def remove(self, name: str) -> bool:
        """End a container, let it finish what it has begun, and remove it."""
        self._run("stop", "--time", str(STOP_SECONDS), name)
        return self._run("rm", "--force", name).returncode == 0

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._name, *arguments],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for the command, which then cleans up by this
        )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "refused without a word"
