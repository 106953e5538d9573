"""Entry point of the `mlflow` image: `migrate`, `serve` or `idle SECONDS`."""

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
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before MLflow is imported
    match arguments:
        case ["migrate"]:
            # Imported here: MLflow takes seconds to load.
            from mlflow_server.migrate import migrate  # noqa: PLC0415

            migrate(load_config())
        case ["serve"]:
            from mlflow_server.server import serve  # noqa: PLC0415

            serve(load_config())
        case ["idle", seconds] if seconds.isdigit():
            _idle(int(seconds))
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


def _idle(seconds: int) -> None:
    """Keep the task running while Session Manager forwards a port through it.

    The time limit stops a task that was forgotten.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    time.sleep(seconds)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
