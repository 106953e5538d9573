"""The tracking image's entry: `prepare`, `serve` or `forward SECONDS`."""

import os
import signal
import sys
import time
from types import FrameType

from contract.errors import StackError
from tracking.config import load_config

USAGE = "usage: python -m tracking prepare | serve | forward SECONDS"


def main(arguments: list[str]) -> int:
    """Run one of the commands and return its exit code."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before MLflow is loaded
    match arguments:
        case ["prepare"]:
            from tracking.prepare import prepare  # noqa: PLC0415 - MLflow takes seconds to load

            prepare(load_config())
        case ["serve"]:
            from tracking.server import serve  # noqa: PLC0415

            serve(load_config())
        case ["forward", seconds] if seconds.isdigit():
            _wait(int(seconds))
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


def _wait(seconds: int) -> None:
    """Be there for Session Manager to forward a port through, and end by itself if forgotten."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    time.sleep(seconds)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
