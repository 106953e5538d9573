"""Train as an MLflow project, through a tracking server: `make run`.

Where no server answers at the address, and it is this machine's, one is started for the time of the
run, over the same store that `make train` and `make ui` use.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlparse

import typer

from contract.errors import StackError, TrackingError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings, mask_password
from contract.settings.sections import TrackingSettings
from endpoints.ports import HOST
from scripts.console import main
from scripts.local.mlflow_server import (
    PORT,
    answers,
    require_free_port,
    server_command,
    server_environment,
)

logger = logging.getLogger(__name__)

START_SECONDS = 60
DEFAULT_SERVER = f"http://{HOST}:{PORT}"
EnvManager = Literal["conda", "uv", "local"]


class RunError(StackError):
    """The project's run failed; it has said why."""


def command(
    experiment: Annotated[str, typer.Option(help="The MLflow experiment.")] = "ElasticNet",
    entry_point: Annotated[str, typer.Option(help="Of MLproject.")] = "Training",
    tracking: Annotated[str, typer.Option(help="The tracking server.")] = "",
    env_manager: Annotated[str, typer.Option(help="conda, uv or local; else what is there.")] = "",
    families: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
) -> None:
    """Run this folder as an MLflow project on a tracking server."""
    settings = load_settings()
    tracking = tracking or (
        settings.tracking.uri if settings.uses_tracking_server else DEFAULT_SERVER
    )
    manager, reason = _choose(env_manager)
    shown = mask_password(tracking)
    logger.info(
        f"Running {entry_point} in experiment {experiment} at {shown}; environment: {reason}"
    )
    with _server(tracking, settings):
        _run(experiment, entry_point, tracking, manager, {"families": families} if families else {})


def _choose(wanted: str) -> tuple[EnvManager, str]:
    """Pick conda where there is conda, else uv, else the environment that this runs in."""
    managers: dict[str, EnvManager] = {"conda": "conda", "uv": "uv", "local": "local"}
    if wanted:
        if wanted not in managers:
            raise StackError(f"--env-manager: {wanted!r} is none of {', '.join(managers)}")
        return managers[wanted], f"{wanted}, as asked"
    for name in ("conda", "uv"):
        if shutil.which(name):
            return managers[name], f"{name}, from conda.yaml"
    return "local", "the current one (neither conda nor uv is on the PATH)"


@contextmanager
def _server(uri: str, settings: Settings) -> Iterator[None]:
    """Have a tracking server for the time of the run: the one that answers, else one of our own."""
    if answers(uri):
        logger.info(f"Using the MLflow server at {uri}")
        yield
        return
    port = _local_port(uri)
    if port is None:
        raise TrackingError(f"no MLflow server answers at {mask_password(uri)}")
    require_free_port(port)
    log = settings.root / ".local" / "mlflow-server.log"
    if settings.uses_tracking_server:  # its address is the one where none answers
        settings = settings.model_copy(update={"tracking": TrackingSettings()})
    arguments = server_command(settings, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        # In a session of its own, so that Ctrl-C ends the run first and then the server.
        server = subprocess.Popen(
            arguments,
            env=server_environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        logger.info(f"Starting an MLflow server at {uri} for this run (log: {log})")
        _wait(uri, server, log)
        yield
    finally:
        _stop(server)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _local_port(uri: str) -> int | None:
    """Return the port of an address of this machine, None for any other."""
    try:
        address = urlparse(uri)
        port = address.port or 80
    except ValueError:
        return None
    return port if address.scheme == "http" and address.hostname in {HOST, "localhost"} else None


def _wait(uri: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(uri):
        if server.poll() is not None or time.monotonic() > deadline:
            raise TrackingError(f"the MLflow server at {uri} did not start; {log} says why")
        time.sleep(0.2)


def _run(
    experiment: str, entry_point: str, uri: str, manager: EnvManager, parameters: dict[str, str]
) -> None:
    import mlflow  # noqa: PLC0415 - takes seconds, after the first line
    from mlflow.exceptions import ExecutionException, MlflowException  # noqa: PLC0415

    # MLproject's command says `python`: with `local` that must be this environment's.
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
        raise RunError(f"the project's run failed: {error.message}") from error
    except MlflowException as error:
        raise TrackingError(str(error.message).splitlines()[0]) from error


if __name__ == "__main__":
    main(command)
