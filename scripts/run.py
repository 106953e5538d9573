"""Train as an MLflow project on a tracking server: `make run`.

If no server responds at a local address, one is started for the duration of the run, on the same
store that `make train` and `make ui` use.
"""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from contract.errors import StackError, TrackingError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings, mask_password
from scripts.console import main
from scripts.local.mlflow_server import PORT, ensure_server, server_address
from scripts.options import FamiliesOption

logger = logging.getLogger(__name__)

EnvManager = Literal["conda", "uv", "local"]
ENV_MANAGERS: dict[str, EnvManager] = {"conda": "conda", "uv": "uv", "local": "local"}


class ProjectRunError(StackError):
    """The run of the MLflow project failed; its own output precedes the message."""


def command(
    experiment: Annotated[str, typer.Option(help="The MLflow experiment.")] = "ElasticNet",
    entry_point: Annotated[str, typer.Option(help="The entry point in MLproject.")] = "Training",
    tracking: Annotated[
        str, typer.Option(help="The tracking server; by default the settings' or a local one.")
    ] = "",
    env_manager: Annotated[
        str, typer.Option(help="conda, uv or local; by default the first that is installed.")
    ] = "",
    families: FamiliesOption = "",
) -> None:
    """Run this folder as an MLflow project on a tracking server."""
    settings = load_settings()
    own_server = settings.tracking.uri if settings.uses_tracking_server else server_address(PORT)
    uri = tracking or own_server
    manager, environment = _choose_env_manager(env_manager)
    logger.info(
        "Running %s in experiment %s at %s; environment: %s",
        entry_point,
        experiment,
        mask_password(uri),
        environment,
    )
    with ensure_server(uri, settings):
        parameters = {"families": families} if families else {}
        _run_project(experiment, entry_point, uri, manager, parameters)


def _choose_env_manager(requested: str) -> tuple[EnvManager, str]:
    """Return the environment manager and its description.

    The default is conda if it is installed, else uv, else the current environment.
    """
    if requested:
        if requested not in ENV_MANAGERS:
            names = ", ".join(ENV_MANAGERS)
            raise StackError(f"--env-manager: {requested!r} is unknown; choose one of {names}")
        return ENV_MANAGERS[requested], f"{requested}, as requested"
    for name in ("conda", "uv"):
        if shutil.which(name):
            return ENV_MANAGERS[name], f"{name}, from conda.yaml"
    return "local", "the current one (neither conda nor uv is on the PATH)"


def _run_project(
    experiment: str, entry_point: str, uri: str, manager: EnvManager, parameters: dict[str, str]
) -> None:
    import mlflow  # noqa: PLC0415 - takes seconds, after the first line
    from mlflow.exceptions import ExecutionException, MlflowException  # noqa: PLC0415

    # MLproject's command is `python`: with `local`, that must be this environment's Python.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.projects.run(
            str(PROJECT_ROOT),
            entry_point=entry_point,
            experiment_name=experiment,
            parameters=parameters,
            env_manager=manager,
        )
    except ExecutionException as error:
        raise ProjectRunError(f"the project's run failed: {error.message}") from error
    except MlflowException as error:
        raise TrackingError(str(error.message).splitlines()[0]) from error


if __name__ == "__main__":
    main(command)
