"""The MLflow UI in the background, as `make pipeline` leaves it and `make teardown` ends it."""

import time
from pathlib import Path

import psutil

from contract.errors import TrackingError
from contract.settings import Settings
from scripts.server import HOST, answers, refuse_used_port, server_command, server_environment
from scripts.targets import processes

START_SECONDS = 60


class UiProcess:
    """The one MLflow server that was left running over the settings' local store."""

    def __init__(self, settings: Settings) -> None:
        """Look at nothing yet."""
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
        refuse_used_port(port)
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
                    f"the UI at {address} did not start; {self._folder}/log says why"
                )
            time.sleep(0.1)

    def stop(self) -> bool:
        """End it; tell whether there was one."""
        found = self._find()
        processes.stop(found)
        return bool(found)

    def _find(self) -> list[psutil.Process]:
        return processes.find(self._folder)
