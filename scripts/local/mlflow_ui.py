"""The MLflow UI in the background: `make pipeline` starts it, `make teardown` stops it."""

import psutil

from contract.settings.loader import Settings
from endpoints import processes
from scripts.local.mlflow_server import (
    require_free_port,
    server_address,
    server_command,
    server_environment,
    wait_until_healthy,
)


class MlflowUi:
    """The one MLflow server that runs in the background on the settings' local store."""

    def __init__(self, settings: Settings) -> None:
        """Store the folder that identifies the server; no process is searched for yet."""
        self._settings = settings
        self._folder = settings.root / ".local" / "ui"
        self._log = self._folder / "log"

    def start(self, port: int) -> str:
        """Start the server unless it runs; return its address, without waiting for it.

        Raises:
            StackError: Another program uses the port.
        """
        for process in self._find():
            command = process.cmdline()
            if "--port" in command:
                return server_address(int(command[command.index("--port") + 1]))
        require_free_port(port)
        command = server_command(self._settings, port)
        processes.start(command, self._folder, self._log, server_environment())
        return server_address(port)

    def wait(self, address: str) -> None:
        """Wait until the server responds.

        Raises:
            TrackingError: It did not start.
        """
        wait_until_healthy(address, lambda: bool(self._find()), self._log)

    def stop(self) -> bool:
        """Stop the server; return whether it was running."""
        found = self._find()
        processes.stop(found)
        return bool(found)

    def _find(self) -> list[psutil.Process]:
        return processes.find_by_folder(self._folder)
