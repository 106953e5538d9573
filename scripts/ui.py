"""Serve what was tracked in a browser: `make ui`."""

import os
from typing import Annotated

import typer

from contract.errors import TrackingError
from contract.settings import load
from scripts.console import main, say
from scripts.server import HOST, PORT, refuse_used_port, server_command, server_environment


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = PORT,
) -> None:
    """Serve what was tracked at http://127.0.0.1:5000, until Ctrl-C."""
    settings = load()
    if settings.tracking.uri.startswith(("http://", "https://")):
        raise TrackingError(f"tracking is a server already: open {settings.store_name}")
    refuse_used_port(port)
    # Without the last part MLflow's page opens on what is for language models.
    page = f"http://{HOST}:{port}/#/experiments?workflowType=machine_learning"
    say(f"Serving {settings.store_name} in some seconds; Ctrl-C ends it: {page}")
    (settings.root / ".local").mkdir(exist_ok=True)
    arguments = server_command(settings, port)
    # In this process's place, so that Ctrl-C is the server's.
    os.execve(arguments[0], arguments, server_environment())  # noqa: S606


if __name__ == "__main__":
    main(command)
