"""The tracking image's entry: `migrate`, `serve` or `idle SECONDS`."""

import os
import signal
import sys
import time
from types import FrameType

from contract.errors import StackError
from mlflow_server.config import load_config

USAGE = "usage: python -m mlflow_server migrate | serve | idle SECONDS"


def main(arguments: list[str]) -> int:
    """Run one of the commands and return its exit code."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before MLflow is loaded
    match arguments:
        case ["migrate"]:
            from mlflow_server.migrate import migrate  # noqa: PLC0415 - MLflow takes seconds to load

            migrate(load_config())
        case ["serve"]:
            from mlflow_server.server import serve  # noqa: PLC0415

            serve(load_config())
        case ["idle", seconds] if seconds.isdigit():
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
