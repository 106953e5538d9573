"""Train, release, deploy and smoke test, one after the other: `make pipeline`.

Each step skips what was done before, so that a second call changes nothing.
"""

import logging
from typing import Annotated

import typer

from contract.errors import StackError
from contract.release import Release
from contract.release_store import ReleaseStore
from contract.settings.loader import Settings, load_settings
from endpoints import get_target
from endpoints.smoke_test import check_report, run_smoke_test
from endpoints.target import DeploymentResult, TargetName
from scripts.console import main
from scripts.display import format_metrics, print_smoke_test
from scripts.local.mlflow_server import EXPERIMENTS_PAGE, PORT
from scripts.local.mlflow_ui import MlflowUi
from scripts.options import StageOption, TargetOption
from scripts.progress import show_progress
from training.result import TrainingResult

logger = logging.getLogger(__name__)


def command(
    ui_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port of the MLflow UI.")
    ] = PORT,
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Train the grids, release the winner, deploy the champion, and smoke test it."""
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage)

    names = ", ".join(settings.training.families)
    uri = settings.masked_tracking_uri
    logger.info("1/4 Training %s on %s; tracking in %s", names, settings.data.train, uri)
    with show_progress(settings.training.metric) as progress:
        result = target.train(progress)
    logger.info("2/4 Releasing %s", result.winner.name)
    release = target.release(f"runs:/{result.winner.run_id}/model")
    model, endpoint = settings.release.model, settings.serving.endpoint
    logger.info("3/4 Deploying the champion of %s to %s", model, endpoint)
    deployed = target.deploy()
    ui_address = _start_ui(settings, ui_port)
    logger.info("4/4 Testing the predictions of the endpoint")
    report = run_smoke_test(target, settings)
    print_smoke_test(report)
    check_report(report)
    if ui_address:
        MlflowUi(settings).wait(ui_address)
    _print_summary(settings, result, release, deployed, ui_address)


def _start_ui(settings: Settings, port: int) -> str:
    """Start the MLflow UI in the background; return its address, or "" if it can't be started."""
    if settings.uses_tracking_server:
        return ""
    try:
        return MlflowUi(settings).start(port)
    except StackError as error:  # the pipeline works without the UI
        logger.warning("the MLflow UI is not started: %s (make ui ARGS='--port ...')", error)
        return ""


def _print_summary(
    settings: Settings,
    result: TrainingResult,
    release: Release,
    deployed: DeploymentResult,
    ui_address: str,
) -> None:
    """Print the results, their locations, and how to stop what runs."""
    metrics = {"validation": result.winner.metrics, "test": result.test_metrics}
    figures = [
        "{} RMSE {}, MAPE {}, R2 {}".format(name, *format_metrics(scores))
        for name, scores in metrics.items()
        if scores
    ]
    store = ReleaseStore(settings.resolve_path(settings.release.store), settings.release.model)
    live, version = deployed.live, release.manifest.version
    lines = [
        ("Trained", f"{result.winner.name} (run {result.winner.run_id})"),
        *(("", figure) for figure in figures),
        ("Released", f"{settings.release.model} version {version}, in {store.uri}"),
        ("Live", f"{live.name} (sha256 {live.digest[:12]}, {live.compute})"),
        ("Endpoint", deployed.url),
        (
            "MLflow",
            f"{ui_address}{EXPERIMENTS_PAGE}" if ui_address else settings.masked_tracking_uri,
        ),
        ("To stop", "make teardown"),
    ]
    print()
    for name, text in lines:
        print(f"{name:<12}{text}")
    if version != live.version:
        print(f"\nVersion {version} is the challenger: make deploy-endpoint VERSION={version}")


if __name__ == "__main__":
    main(command)
