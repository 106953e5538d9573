"""The MLflow UI in the background, as `make pipeline` starts it and `make teardown` stops it."""

import time
from pathlib import Path

import psutil

from contract.errors import TrackingError
from contract.settings.loader import Settings
from endpoints import processes
from endpoints.ports import HOST
from scripts.local.mlflow_server import (
    answers,
    require_free_port,
    server_command,
    server_environment,
)

START_SECONDS = 60


class MlflowUi:
    """The one MLflow server that runs in the background over the settings' local store."""

    def __init__(self, settings: Settings) -> None:
        """Name the server's folder; no process is looked for yet."""
        self._settings = settings
        self._folder: Path = settings.root / ".local" / "ui"

    def start(self, port: int) -> str:
        """Start it where it isn't running; return its address, where it answers in some seconds.

        Raises:
            TrackingError: Another program has the port.
        """
        for process in self._find():
            command = process.cmdline()
            if "--port" in command:
                return f"http://{HOST}:{command[command.index('--port') + 1]}"
        require_free_port(port)
        processes.start(
            server_command(self._settings, port),
            self._folder,
            self._folder / "log",
            server_environment(),
        )
        return f"http://{HOST}:{port}"

    def wait(self, address: str) -> None:
        """Return when it answers.

        Raises:
            TrackingError: It doesn't start.
        """
        deadline = time.monotonic() + START_SECONDS
        while not answers(address):
            if not self._find() or time.monotonic() > deadline:
                raise TrackingError(
                    f"the MLflow UI at {address} did not start; see {self._folder}/log"
                )
            time.sleep(0.1)

    def stop(self) -> bool:
        """Stop it; return whether it was running."""
        found = self._find()
        processes.stop(found)
        return bool(found)

    def _find(self) -> list[psutil.Process]:
        return processes.find(self._folder)
