"""Send 20 rows to the endpoint and check its predictions: `make smoke-test`."""

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
    target_name: TargetOption = TargetName.LOCAL,
    stage: StageOption = "",
) -> None:
    """Send 20 rows to the endpoint, print its predictions, and check them against the release.

    The exit code is 1 if its predictions are wrong or missing, and 2 if it doesn't respond.
    """
    settings = load_settings()
    target = get_target(settings, target_name, stage=stage)
    test_rows = f"the first {ROWS} rows of {settings.data.test}"
    rows = test_rows if settings.data.test else f"{ROWS} rows of the release"
    logger.info("Sending %s to %s", rows, settings.serving.endpoint)
    report = run_smoke_test(target, settings)
    if as_json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print_smoke_test(report)
    check_report(report)
    logger.info("Passed: the predictions match %s", report.release)


if __name__ == "__main__":
    main(command)
