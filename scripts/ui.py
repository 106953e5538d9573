"""Show what was tracked in a browser: `make ui`."""

import logging
import os
from typing import Annotated

import typer

from contract.errors import TrackingError
from contract.settings.loader import Settings, load_settings
from contract.settings.stage import Stage
from endpoints.ports import HOST
from endpoints.target import TargetName
from scripts.console import main
from scripts.local.mlflow_server import (
    EXPERIMENTS_PAGE,
    PORT,
    require_free_port,
    server_command,
    server_environment,
)

logger = logging.getLogger(__name__)


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = PORT,
    target: Annotated[TargetName, typer.Option(help="Whose runs to show.")] = TargetName.LOCAL,
) -> None:
    """Show what was tracked at http://127.0.0.1:5000, until Ctrl-C."""
    settings = load_settings()
    if target is TargetName.AWS:
        _show_stage(settings.get_stage(), port)
    else:
        _serve(settings, port)


def _serve(settings: Settings, port: int) -> None:
    """Serve what was tracked on this machine."""
    if settings.uses_tracking_server:
        raise TrackingError(f"tracking is a server already: open {settings.masked_tracking_uri}")
    require_free_port(port)
    page = f"http://{HOST}:{port}{EXPERIMENTS_PAGE}"
    logger.info(f"Serving {settings.masked_tracking_uri} in some seconds; Ctrl-C ends it: {page}")
    (settings.root / ".local").mkdir(exist_ok=True)
    arguments = server_command(settings, port)
    # In this process's place, so that Ctrl-C is the server's.
    os.execve(arguments[0], arguments, server_environment())  # noqa: S606


def _show_stage(stage: Stage, port: int) -> None:
    """Forward a port to the stage's MLflow, which has no public address."""
    from scripts.aws.account import Account  # noqa: PLC0415 - boto3, on the way to AWS alone
    from scripts.aws.port_forwarding import forwarded  # noqa: PLC0415

    with forwarded(Account(stage), port) as way:
        logger.info(f"MLflow of {stage.prefix}, until Ctrl-C: {way.address}{EXPERIMENTS_PAGE}")
        logger.info("It asks for your user and password there; `make mlflow-user` adds people")
        if stage.mlflow_domain:
            logger.info(
                f"Its certificate is for {stage.mlflow_domain}: your browser warns, unless that "
                f"name is {HOST} for it (/etc/hosts) and you open it by that name"
            )
        way.wait()


if __name__ == "__main__":
    main(command)
