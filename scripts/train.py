"""Train every combination of the grids and show the winner: `make train`."""

import json
import logging
import signal
import sys
from datetime import datetime
from typing import Annotated

import typer

from contract.names import make_command
from contract.process import Interrupted
from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import Target, TargetName
from scripts.console import main
from scripts.display import print_leaderboard
from scripts.options import FamiliesOption, JsonOption, StageOption, TargetOption
from scripts.progress import show_progress

logger = logging.getLogger(__name__)


def command(
    families: FamiliesOption = "",
    as_json: JsonOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Train all combinations, even those tracked already.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the training job on AWS and don't wait for it.")
    ] = False,
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Train every combination of the grids, track each in MLflow, and show the winner.

    On AWS a training job does that, and releases the winner.
    """
    settings = load_settings()
    if families:
        chosen = settings.training.model_copy(update={"families": tuple(families.split(","))})
        settings = settings.model_copy(update={"training": chosen})
    target = get_target(settings, target_name, stage=stage, supports_aws=True)
    if detach:
        job = target.start_training(force)
        if as_json:
            print(json.dumps(job.as_json(), indent=2, default=datetime.isoformat))
        else:
            status = make_command(settings.get_stage(stage), "status TARGET=aws")
            print(f"Job {job.name}: {job.status}; {status} shows it")
        return
    logger.info(
        "Training %s on %s; tracking in %s",
        ", ".join(settings.training.families),
        settings.data.train,
        settings.masked_tracking_uri if target_name is TargetName.LOCAL else "the MLflow server",
    )
    try:
        with show_progress(settings.training.metric) as progress:
            result = target.train(progress, force)
    except Interrupted as interrupt:
        if target.running_job:
            command = make_command(settings.get_stage(stage), "train TARGET=aws")
            _offer_to_stop(target, interrupt, command)
        raise
    if result.already_tracked == len(result.leaderboard):
        logger.info(
            "Already trained on the same data, code and settings (run %s); FORCE=1 trains it again",
            result.parent_run_id,
        )
    if as_json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        print()
    else:
        ui = "make ui"
        if target_name is TargetName.AWS:
            ui = make_command(settings.get_stage(stage), "ui TARGET=aws")
        print_leaderboard(result, ui)


def _offer_to_stop(target: Target, interrupt: Interrupted, command: str) -> None:
    """Ask whether to stop the job that an interrupted training leaves running."""
    job = target.running_job
    # Only Ctrl-C on a terminal can be answered.
    asked = interrupt.exit_code == 128 + signal.SIGINT and sys.stdin.isatty()
    if asked and typer.confirm(f"\nStop job {job}? It continues otherwise", err=True):
        target.stop_training()
        logger.info("Job %s is stopping; what is tracked is kept", job)
    else:
        logger.info("Job %s continues; %s follows it again", job, command)


if __name__ == "__main__":
    main(command)
