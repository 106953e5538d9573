"""The front as a process: found, started, waited for and ended."""

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
from endpoints.backends import ask
from endpoints.ports import bind_error
from endpoints.state import code_digest

START_SECONDS = 30.0
MODULE = "endpoints.router"
LOG = "router.log"
ADVICE = "STACK_SERVING__PORT or serving.port in settings.toml chooses another"


class RouterProcess:
    """The one process that listens for all endpoints in a folder."""

    def __init__(self, home: Path, port: int) -> None:
        """Take where the endpoints are, and the port that clients know."""
        self._home, self._port = home, port
        self._process: psutil.Process | None = None

    def is_healthy(self) -> bool:
        """Tell whether it is there, and answers."""
        return self._ours(self._about())

    def start(self) -> bool:
        """Start it where it isn't there, or is one of other code; `wait` waits for it.

        Returns:
            Whether it was started.

        Raises:
            EndpointError: Another program has the port.
        """
        about = self._about()
        if self._ours(about) and about.get("code") == code_digest():
            return False
        # One that hangs, or that is to be replaced, gives the port free.
        processes.stop([one for one in self._find() if _port_of(one) == self._port])
        self._refuse_used_port(about)
        self._process = processes.start(
            [sys.executable, "-m", MODULE, "--home", str(self._home), "--port", str(self._port)],
            self._home,
            self._home / LOG,
            {},
        )
        return True

    def wait(self) -> None:
        """Return when it answers; end those that listen where the settings no longer say.

        Raises:
            EndpointError: It doesn't start.
        """
        if self._process is None:
            return
        began = time.monotonic()
        while not self.is_healthy():
            dead = not processes.is_alive(self._process.pid, self._home)
            if dead or time.monotonic() - began > START_SECONDS:
                raise EndpointError(f"port {self._port}: nothing listens: {self._last_words()}")
            time.sleep(0.02)
        processes.stop([one for one in self._find() if one.pid != self._process.pid])

    def stop(self) -> None:
        """End it."""
        processes.stop(self._find())

    def _find(self) -> list[psutil.Process]:
        return processes.find(self._home)

    def _about(self) -> Mapping[str, Any]:
        """Return what the front says of itself; nothing where there is none."""
        try:
            _, _, content = ask(self._port, "/router", seconds=2)
            about = json.loads(content)
        except (EndpointError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}

    def _ours(self, about: Mapping[str, Any]) -> bool:
        return about.get("home") == str(self._home)

    def _refuse_used_port(self, about: Mapping[str, Any]) -> None:
        error = bind_error(self._port)
        if error:
            owner = about.get("home")
            reason = f"is in use by {f'the endpoints in {owner}' if owner else 'a program'}"
            if isinstance(error, PermissionError):
                reason = "may not be listened on by this user"
            raise EndpointError(f"port {self._port} {reason}; {ADVICE}")

    def _last_words(self) -> str:
        with suppress(OSError, IndexError):
            return (self._home / LOG).read_text(errors="replace").strip().splitlines()[-1]
        return "no word of it"


def _port_of(process: psutil.Process) -> int | None:
    with suppress(psutil.Error, ValueError, IndexError):
        command = process.cmdline()
        return int(command[command.index("--port") + 1])
    return None
