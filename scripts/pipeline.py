"""Train, release, deploy and smoke test, in one go: `make pipeline`.

Each step finds what is done already, so that a second call changes nothing.
"""

from typing import Annotated

import typer

from contract.errors import TrackingError
from contract.settings import Settings, load
from contract.store import ReleaseStore
from scripts import smoke_test
from scripts.console import main, say
from scripts.server import PORT
from scripts.targets import choose
from scripts.targets.base import Move, Trained
from scripts.ui_process import UiProcess

PAGE = "#/experiments?workflowType=machine_learning"


def command(
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Where the UI listens.")] = PORT,
) -> None:
    """Train the grids, release the winner, deploy the champion, and ask it for real rows."""
    settings = load()
    names = ", ".join(settings.training.families)
    target = choose(settings, say)

    say(f"1/4 Training {names} on {settings.data.train}; tracked in {settings.store_name}")
    trained = target.train()
    say(f"2/4 Releasing {trained.winner}")
    from training.release import release  # noqa: PLC0415 - loaded by now

    released = release(settings, f"runs:/{trained.winner_run_id}/model", say)
    say(f"3/4 Deploying the champion of {settings.release.model} to {settings.serving.endpoint}")
    moved = target.deploy()
    ui, page = UiProcess(settings), _start_ui(settings, ui_port)
    say("4/4 Asking the endpoint for real rows")
    report = smoke_test.ask(target, settings)
    smoke_test.show(report)
    smoke_test.judge(report)
    if page:
        ui.wait(page)
    _sum_up(settings, trained, released.manifest.version, moved, page)


def _start_ui(settings: Settings, port: int) -> str:
    """Start the UI in the background; return its address, and nothing where it can't be had."""
    if settings.tracking.uri.startswith(("http://", "https://")):
        return ""
    try:
        return UiProcess(settings).start(port)
    except TrackingError as error:  # what counts is the endpoint
        say(f"warning: no UI: {error} (make ui ARGS='--port ...')")
        return ""


def _sum_up(settings: Settings, trained: Trained, version: str, moved: Move, page: str) -> None:
    """Print what was done, where it is, and how to end it."""
    scores = {"validation": trained.validation, "test": trained.test}
    figures = [
        f"{name} RMSE {one['RMSE']:,.6g}, MAPE {one['MAPE']:.2%}, R2 {one['R2']:.4f}"
        for name, one in scores.items()
        if one
    ]
    store = ReleaseStore(settings.path(settings.release.store), settings.release.model)
    ui = f"{page}/{PAGE}" if page else settings.store_name
    lines = [
        ("Trained", f"{trained.winner} (run {trained.winner_run_id})"),
        *(("", one) for one in figures),
        ("Released", f"{settings.release.model} version {version}, in {store.place}"),
        ("Live", f"{moved.live.name} (sha256 {moved.live.digest[:12]}, {moved.live.runs_as})"),
        ("Endpoint", moved.address),
        ("UI", ui),
        ("To end both", "make teardown"),
    ]
    print()
    for name, text in lines:
        print(f"{name:<12}{text}")
    if version != moved.live.version:
        print(f"\nVersion {version} challenges it: make deploy-endpoint VERSION={version}")


if __name__ == "__main__":
    main(command)
