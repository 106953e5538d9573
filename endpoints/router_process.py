"""The process of the router: find, start, wait for and stop it."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from contract.errors import EndpointError
from endpoints import processes
from endpoints.backends import http_request
from endpoints.logs import ROUTER_LOG
from endpoints.ports import bind_error
from endpoints.state import router_code_digest

START_TIMEOUT_SECONDS = 30.0
INFO_TIMEOUT_SECONDS = 2.0
ROUTER_MODULE = "endpoints.router"
PORT_ADVICE = "set another one in STACK_SERVING__PORT or in serving.port of settings.toml"


class RouterProcess:
    """The one process that receives the requests for all endpoints in a folder."""

    def __init__(self, endpoints_folder: Path, port: int) -> None:
        """Configure the router; nothing is started yet.

        Args:
            endpoints_folder: The folder of all endpoints.
            port: The port that clients use.
        """
        self._endpoints_folder, self._port = endpoints_folder, port
        self._process: psutil.Process | None = None

    def is_healthy(self) -> bool:
        """Return whether the router runs and responds."""
        return self._is_own(self._get_info())

    def start(self) -> bool:
        """Start the router if it isn't running, or runs other code; `wait` waits until it responds.

        Returns:
            Whether it was started.

        Raises:
            EndpointError: Another program uses the port.
        """
        info = self._get_info()
        if self._is_own(info) and info.get("code_digest") == router_code_digest():
            return False
        # A router that hangs or is to be replaced has to release the port first.
        processes.stop([process for process in self._find() if _port_of(process) == self._port])
        self._require_free_port(info)
        command = [sys.executable, "-m", ROUTER_MODULE]
        command += ["--endpoints-folder", str(self._endpoints_folder), "--port", str(self._port)]
        log = self._endpoints_folder / ROUTER_LOG
        self._process = processes.start(command, self._endpoints_folder, log, {})
        return True

    def wait(self) -> None:
        """Wait until the started router responds; then stop the routers on previous ports.

        Raises:
            EndpointError: The router does not start.
        """
        if self._process is None:
            return
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.is_healthy():
            is_alive = processes.is_alive(self._process.pid, self._endpoints_folder)
            if not is_alive or time.monotonic() > deadline:
                reason = self._last_log_line()
                raise EndpointError(f"the router on port {self._port} does not start: {reason}")
            time.sleep(0.02)
        processes.stop([process for process in self._find() if process.pid != self._process.pid])

    def stop(self) -> None:
        """Stop the router, on whatever port it listens."""
        processes.stop(self._find())

    def _find(self) -> list[psutil.Process]:
        return processes.find_by_folder(self._endpoints_folder)

    def _get_info(self) -> Mapping[str, Any]:
        """Return what `GET /router` responds; empty if no router responds on the port."""
        try:
            _, _, content = http_request(self._port, "/router", timeout=INFO_TIMEOUT_SECONDS)
            info = json.loads(content)
        except (EndpointError, ValueError):
            return {}
        return info if isinstance(info, dict) else {}

    def _is_own(self, info: Mapping[str, Any]) -> bool:
        return info.get("endpoints_folder") == str(self._endpoints_folder)

    def _require_free_port(self, info: Mapping[str, Any]) -> None:
        error = bind_error(self._port)
        if error:
            folder = info.get("endpoints_folder")
            user = f"the endpoints in {folder}" if folder else "another program"
            reason = f"is in use by {user}"
            if isinstance(error, PermissionError):
                reason = "may not be bound by this user"
            raise EndpointError(f"port {self._port} {reason}; {PORT_ADVICE}")

    def _last_log_line(self) -> str:
        with suppress(OSError, IndexError):
            log = self._endpoints_folder / ROUTER_LOG
            return log.read_text(errors="replace").strip().splitlines()[-1]
        return "its log is empty"


def _port_of(process: psutil.Process) -> int | None:
    with suppress(psutil.Error, ValueError, IndexError):
        command = process.cmdline()
        return int(command[command.index("--port") + 1])
    return None
