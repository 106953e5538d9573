"""Serve a release: `python -m serving`, which is `docker run IMAGE serve`."""

import argparse
import os
import sys
from pathlib import Path

from contract.errors import StackError
from contract.paths import SAGEMAKER_MODEL_DIR
from contract.settings.serving import load_serving_settings
from serving.log import log_line
from serving.supervisor import serve

PORT_VARIABLE, DEFAULT_PORT = "SAGEMAKER_BIND_TO_PORT", 8080


def main() -> int:
    """Parse the arguments, serve until stopped, and return the exit code."""
    parser = argparse.ArgumentParser("serving", description="Serve a release over HTTP.")
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve")
    parser.add_argument(
        "--model", type=Path, default=SAGEMAKER_MODEL_DIR, help="the release folder"
    )
    parser.add_argument("--host", default="0.0.0.0", help="the address to bind")  # noqa: S104
    parser.add_argument("--port", help=f"default: ${PORT_VARIABLE}, or {DEFAULT_PORT}")
    arguments = parser.parse_args()
    try:
        port = _parse_port(arguments.port or os.environ.get(PORT_VARIABLE) or str(DEFAULT_PORT))
        serve(arguments.model, arguments.host, port, load_serving_settings())
    except StackError as error:
        log_line(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parse_port(text: str) -> int:
    if text.isdigit() and 0 < int(text) < 2**16:
        return int(text)
    raise StackError(f"invalid port {text[:40]!r}: expected a number from 1 to 65535")


if __name__ == "__main__":
    sys.exit(main())
