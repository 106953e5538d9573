"""Train every combination of the grids and show the winner: `make train`."""

import json
import logging
import sys
from typing import Annotated

import typer

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
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
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Train every combination of the grids, track each in MLflow, and show the winner."""
    settings = load_settings()
    if families:
        chosen = settings.training.model_copy(update={"families": tuple(families.split(","))})
        settings = settings.model_copy(update={"training": chosen})
    target = get_target(settings, target_name, stage=stage)
    logger.info(
        "Training %s on %s; tracking in %s",
        ", ".join(settings.training.families),
        settings.data.train,
        settings.masked_tracking_uri,
    )
    with show_progress(settings.training.metric) as progress:
        result = target.train(progress, force)
    if result.already_tracked == len(result.leaderboard):
        logger.info(
            "Already trained on the same data, code and settings (run %s); FORCE=1 trains it again",
            result.parent_run_id,
        )
    if as_json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        print()
    else:
        print_leaderboard(result)


if __name__ == "__main__":
    main(command)
