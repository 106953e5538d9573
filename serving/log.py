"""The request log: a line of JSON each, to the standard output. Never the data."""

import json
import os
import sys
from datetime import UTC, datetime

LONGEST_ID = 64


def log_request(
    status: int, rows: int, seconds: float, inference_id: str, error_code: str = ""
) -> None:
    """Log a request that was answered."""
    entry: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": status,
        "rows": rows,
        "milliseconds": round(1000 * seconds, 3),
    }
    if inference_id:
        entry["inference_id"] = inference_id[:LONGEST_ID]
    if error_code:
        entry["error_code"] = error_code
    # One write a line: the lines of several processes don't mix.
    _put(1, json.dumps(entry))


def log_line(text: str) -> None:
    """Tell whoever started the server something, in one line."""
    _put(2, " ".join(text.split()))


def log_exception(text: str) -> None:
    """Log what shouldn't have happened, traceback and all."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _put(descriptor: int, line: str) -> None:
    try:
        os.write(descriptor, f"{line}\n".encode())
    except OSError:  # nobody reads it any more, which is no reason not to answer
        return
