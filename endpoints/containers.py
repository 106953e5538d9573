"""Run the serving image in containers, with the container engine of this machine.

The engine bounds the size of each container's log, as `endpoints.logs` does for processes.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from contract.errors import EndpointError
from contract.names import Image
from contract.paths import SAGEMAKER_MODEL_DIR
from endpoints.container_engine import IMAGE_NAMES, find_engine
from endpoints.logs import MAX_LOG_MIB
from endpoints.ports import HOST

IMAGE = IMAGE_NAMES[Image.SERVE]
ENDPOINT_LABEL = "stack.endpoint"
"""The label with the folder of a container's endpoint."""
ALL_ENDPOINTS_LABEL = "stack.endpoints"
"""The label with the folder of all endpoints of the project."""
STOP_TIMEOUT_SECONDS = 30


class ServingContainers:
    """Containers of the serving image, managed with this machine's container engine."""

    def __init__(self) -> None:
        """Find the container engine.

        Raises:
            StackError: No container engine works.
        """
        self._engine = find_engine()

    def image_id(self) -> str:
        """Return the id of the serving image.

        Raises:
            EndpointError: The image is not built.
        """
        done = self._run("image", "inspect", IMAGE)
        if done.returncode:
            raise EndpointError(f"{self._engine} has no image {IMAGE}; run make build")
        return str(json.loads(done.stdout)[0]["Id"])

    def start(
        self, name: str, endpoint: Path, release: Path, port: int, environment: Mapping[str, str]
    ) -> None:
        """Start a container that serves a release on 127.0.0.1.

        Args:
            name: The container's name.
            endpoint: The endpoint's folder, which the container is labeled with.
            release: The release's folder.
            port: The port to listen on.
            environment: Variables of the container.

        Raises:
            EndpointError: The engine can't start the container.
        """
        mount = f"type=bind,source={release},target={SAGEMAKER_MODEL_DIR},readonly"
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        done = self._run(
            *("run", "--detach", f"--name={name}"),
            f"--label={ENDPOINT_LABEL}={endpoint}",
            f"--label={ALL_ENDPOINTS_LABEL}={endpoint.parent}",
            # Both engines support this driver. Their default may be another one, such as journald,
            # for which docker refuses the option.
            *("--log-driver=json-file", f"--log-opt=max-size={MAX_LOG_MIB}m"),
            *("--network=host", "--read-only", "--tmpfs=/tmp", f"--mount={mount}", *variables),
            *(IMAGE, "serve", "--host", HOST, "--port", str(port)),
        )
        if done.returncode:
            raise EndpointError(f"{self._engine} run {name}: {_last_line(done.stderr)}")

    def is_running(self, name: str) -> bool:
        """Return whether a container exists and runs."""
        done = self._run("container", "inspect", "--format", "{{.State.Running}}", name)
        return done.stdout.strip() == "true"

    def logs(self, name: str) -> str:
        """Return the output of a container."""
        done = self._run("logs", name)
        return done.stdout + done.stderr

    def find_by_label(self, label: str, folder: Path) -> list[str]:
        """Return the names of the containers with a label, including those that have stopped."""
        label_filter = f"label={label}={folder}"
        done = self._run("ps", "--all", "--filter", label_filter, "--format", "{{.Names}}")
        return done.stdout.split()

    def remove(self, name: str) -> bool:
        """Stop a container after it has finished its requests, and remove it."""
        self._run("stop", "--time", str(STOP_TIMEOUT_SECONDS), name)
        return self._run("rm", "--force", name).returncode == 0

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._engine, *arguments],
            capture_output=True,
            text=True,
            check=False,
            # Ctrl-C is for the command, which then cleans up by running the engine.
            start_new_session=True,
        )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "failed without a message"
