"""Send 20 rows to the endpoint and compare its predictions with what is known: `make smoke-test`."""

import json
import logging
from dataclasses import asdict

from contract.settings.loader import load_settings
from endpoints import get_target
from endpoints.smoke_test import ROWS, check_report, run_smoke_test
from endpoints.target import TargetName
from scripts.console import main
from scripts.display import print_smoke_test
from scripts.options import JsonOption, StageOption, TargetOption

logger = logging.getLogger(__name__)


def command(
    as_json: JsonOption = False,
    target: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Send 20 rows to the endpoint; fail if a prediction is not what it should be.

    The exit code is 1 where a prediction is wrong, and 2 where there is none.
    """
    settings = load_settings()
    endpoint = get_target(settings, target, stage=stage)
    rows = f"the first {ROWS} rows of {settings.data.test}" if settings.data.test else "known rows"
    logger.info("Sending %s to %s", rows, settings.serving.endpoint)
    report = run_smoke_test(endpoint, settings)
    if as_json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print_smoke_test(report)
    check_report(report)
    logger.info("Passed: %s predicts what it was released with", report.release)


if __name__ == "__main__":
    main(command)
