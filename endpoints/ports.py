"""Ports on the loopback address: find a free one, and check whether one can be bound."""

import socket

from contract.errors import StackError

HOST = "127.0.0.1"


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that no process listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def bind_error(port: int) -> OSError | None:
    """Return the error of binding a port of 127.0.0.1, or None if it can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def require_free_port(port: int, owner: str = "another program") -> None:
    """Check that a server can listen on a port of 127.0.0.1.

    Args:
        port: The port to check.
        owner: What uses the port, for the message.

    Raises:
        StackError: The port is in use, or this user may not bind it.
    """
    error = bind_error(port)
    if isinstance(error, PermissionError):
        raise StackError(f"port {port} may not be bound by this user; choose another port")
    if error:
        raise StackError(f"port {port} is in use by {owner}; choose another port")
