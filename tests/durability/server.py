"""An MLflow server as a process of its own, which tests kill."""

import os
import signal
import threading
import time
from pathlib import Path

from scripts.local.mlflow_server import is_server_healthy
from tests.durability.trainings import children_of
from tests.helpers import start


class Server:
    """A tracking server that can be killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self.uri = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        self._process = start("scripts.ui", "--port", str(self._port), folder=self._folder)
        threading.Thread(target=self._process.communicate, daemon=True).start()
        deadline = time.monotonic() + 180  # on a busy machine
        while not is_server_healthy(self.uri):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def kill(self) -> None:
        pids = [self._process.pid]
        for pid in pids:
            pids += children_of(pid)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)
