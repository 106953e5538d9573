"""Show what was tracked in a browser: `make ui`."""

import os
from typing import Annotated

import typer

from contract.errors import TrackingError
from contract.settings import Settings, load
from contract.stage import Stage
from scripts.console import main, say
from scripts.server import HOST, PORT, refuse_used_port, server_command, server_environment
from scripts.targets.base import TargetName

# Without the last part MLflow's page opens on what is for language models.
PAGE = "/#/experiments?workflowType=machine_learning"


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = PORT,
    target: Annotated[TargetName, typer.Option(help="Whose runs to show.")] = TargetName.LOCAL,
) -> None:
    """Show what was tracked at http://127.0.0.1:5000, until Ctrl-C."""
    settings = load()
    if target is TargetName.AWS:
        _show_stage(settings.of_stage(), port)
    else:
        _serve(settings, port)


def _serve(settings: Settings, port: int) -> None:
    """Serve what was tracked on this machine."""
    if settings.tracking.uri.startswith(("http://", "https://")):
        raise TrackingError(f"tracking is a server already: open {settings.store_name}")
    refuse_used_port(port)
    page = f"http://{HOST}:{port}{PAGE}"
    say(f"Serving {settings.store_name} in some seconds; Ctrl-C ends it: {page}")
    (settings.root / ".local").mkdir(exist_ok=True)
    arguments = server_command(settings, port)
    # In this process's place, so that Ctrl-C is the server's.
    os.execve(arguments[0], arguments, server_environment())  # noqa: S606


def _show_stage(stage: Stage, port: int) -> None:
    """Forward a port to the stage's MLflow, which has no public address."""
    from scripts.account import Account  # noqa: PLC0415 - boto3, on the way to AWS alone
    from scripts.forwarding import forwarded  # noqa: PLC0415

    with forwarded(Account(stage), port) as way:
        say(f"MLflow of {stage.prefix}, until Ctrl-C: {way.address}{PAGE}")
        say("It asks for your user and password there; `make mlflow-user` adds people")
        if stage.tracking_domain:
            say(
                f"Its certificate is for {stage.tracking_domain}: your browser warns, unless that "
                f"name is {HOST} for it (/etc/hosts) and you open it by that name"
            )
        way.wait()


if __name__ == "__main__":
    main(command)
