"""Open the MLflow UI: `make ui`."""

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
    server_address,
    server_command,
    server_environment,
)
from scripts.options import TargetOption

logger = logging.getLogger(__name__)


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The local port.")] = PORT,
    target_name: TargetOption = TargetName.LOCAL,
) -> None:
    """Serve the MLflow UI at http://127.0.0.1:5000 until Ctrl-C."""
    settings = load_settings()
    if target_name is TargetName.AWS:
        _forward_stage(settings.get_stage(), port)
    else:
        _serve_local(settings, port)


def _serve_local(settings: Settings, port: int) -> None:
    """Serve the local store."""
    if settings.uses_tracking_server:
        raise TrackingError(f"tracking uses a server; open {settings.masked_tracking_uri}")
    require_free_port(port)
    page = f"{server_address(port)}{EXPERIMENTS_PAGE}"
    logger.info("Starting MLflow on %s; stop it with Ctrl-C", settings.masked_tracking_uri)
    print(f"MLflow: {page}", flush=True)
    (settings.root / ".local").mkdir(exist_ok=True)
    command = server_command(settings, port)
    # The server replaces this process, so that it receives Ctrl-C itself.
    os.execve(command[0], command, server_environment())  # noqa: S606


def _forward_stage(stage: Stage, port: int) -> None:
    """Forward a port to the stage's MLflow, which has no public address."""
    from aws.account import AwsAccount  # noqa: PLC0415 - boto3 is needed on AWS only
    from scripts.aws.port_forwarding import forward_port  # noqa: PLC0415

    with forward_port(AwsAccount(stage), port) as forwarding:
        print(f"MLflow: {forwarding.address}{EXPERIMENTS_PAGE}", flush=True)
        logger.info("Forwarding to MLflow of %s until Ctrl-C", stage.prefix)
        logger.info("Log in with your MLflow user and password; make mlflow-user adds users")
        if stage.mlflow_domain:
            logger.info(
                "The certificate is for %s, so browsers warn about %s; to avoid the warning, map "
                "the domain to %s in /etc/hosts and open it instead",
                stage.mlflow_domain,
                HOST,
                HOST,
            )
        forwarding.wait()


if __name__ == "__main__":
    main(command)
