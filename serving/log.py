"""The server's logs: requests as JSON Lines on stdout, messages on stderr; never the data.

Lines are written without the logging module: workers share both streams, and one `write` call per
line keeps the lines of different processes apart.
"""

import json
import os
import sys
from datetime import UTC, datetime

STDOUT, STDERR = 1, 2
MAX_INFERENCE_ID_LENGTH = 64


def log_request(
    status: int, rows: int, seconds: float, inference_id: str, error_code: str = ""
) -> None:
    """Log a completed request as one line of JSON on stdout."""
    entry: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": status,
        "rows": rows,
        "milliseconds": round(1000 * seconds, 3),
    }
    if inference_id:
        entry["inference_id"] = inference_id[:MAX_INFERENCE_ID_LENGTH]
    if error_code:
        entry["error_code"] = error_code
    _write_line(STDOUT, json.dumps(entry))


def log_line(text: str) -> None:
    """Log a message as one line on stderr."""
    _write_line(STDERR, " ".join(text.split()))


def log_exception(text: str) -> None:
    """Log the traceback of an unexpected exception on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _write_line(descriptor: int, line: str) -> None:
    try:
        os.write(descriptor, f"{line}\n".encode())
    except OSError:  # the stream is closed; requests are still processed
        return
