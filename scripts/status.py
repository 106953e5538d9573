"""Show the state of an endpoint, and restart stopped servers: `make status`."""

import json
import logging
from datetime import datetime

import typer

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.target import TargetName
from scripts.console import main
from scripts.display import print_status, print_training_jobs
from scripts.options import JsonOption, StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(
    as_json: JsonOption = False,
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Show the live and the previous deployment; restart servers that stopped, and report it.

    The exit code is 0 if the endpoint is healthy, and 1 if it isn't or nothing is deployed. On AWS
    the command lists the latest training jobs.
    """
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage, supports_aws=True)
    if target_name is TargetName.AWS:
        jobs = target.list_training_jobs()
        if as_json:
            print(json.dumps([job.as_json() for job in jobs], indent=2, default=datetime.isoformat))
        else:
            print_training_jobs(jobs)
        return
    logger.info("Checking %s", settings.serving.endpoint)
    status = target.status()
    if as_json:
        print(json.dumps(status.as_json(), indent=2, default=datetime.isoformat))
    else:
        print_status(status)
    if not status.healthy:
        raise typer.Exit(1)


if __name__ == "__main__":
    main(command)
