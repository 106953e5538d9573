"""Entry point of the training image: `docker run IMAGE train`.

The exit code and the failure file tell SageMaker how the job ended:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-signal-success-failure.html
"""

import logging
import sys
import traceback
from contextlib import suppress

from contract.errors import StackError
from contract.process import (
    JOB_RETRIES,
    Interrupted,
    catch_signals,
    limit_mlflow_retries,
    log_warnings,
    reduce_garbage_collection,
    silence_libraries,
)
from training_job.folders import Folders
from training_job.job import run_job

logger = logging.getLogger("training_job")

FAILURE_LENGTH = 1024
"""The characters of the failure file that SageMaker reads."""
STOP_SECONDS = 100
"""How long an interrupted job may clean up; SageMaker kills it 120 seconds after SIGTERM."""
KILLED = "the training process was killed; the instance may be out of memory"


def main(arguments: list[str]) -> int:
    """Run the job and return the exit code."""
    if arguments != ["train"]:
        print("usage: python -m training_job train", file=sys.stderr)
        return 2
    reduce_garbage_collection()
    silence_libraries()
    limit_mlflow_retries(JOB_RETRIES)
    _configure_logging()
    catch_signals(STOP_SECONDS)
    folders = Folders.from_environment()
    failure = _FailureFile(folders)
    try:
        run_job(folders)
    except StackError as error:
        return failure.report(f"{type(error).__name__}: {error}", error.exit_code)
    except Interrupted as interrupt:
        return failure.report("interrupted; what is tracked is kept", interrupt.exit_code)
    except OSError as error:  # of the operating system, such as a full disk
        reason = f"{error.strerror or error}: {error.filename or 'the disk'}"
        return failure.report(f"OSError: {reason}", 1)
    except Exception as error:  # a defect
        logger.error("%s", traceback.format_exc())  # noqa: TRY400 - as lines of the log
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        return failure.report(f"unexpected {summary}", 1)
    failure.remove()
    return 0


class _FailureFile:
    """The file from which SageMaker reads why a job failed.

    It is written first, at its full length, for two reasons: on a full disk the reason can still be
    written, and a process that is killed leaves one.
    """

    def __init__(self, folders: Folders) -> None:
        self._file = folders.failure
        with suppress(OSError):  # without the folder, as with docker run, the log has the reason
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(KILLED.ljust(FAILURE_LENGTH))

    def report(self, reason: str, exit_code: int) -> int:
        """Log the reason and write it to the file; return the exit code."""
        logger.error("error: %s", reason)
        content = reason.encode()[:FAILURE_LENGTH]
        with suppress(OSError), self._file.open("r+b") as file:
            file.write(content)
            file.truncate()
        return exit_code

    def remove(self) -> None:
        with suppress(OSError):
            self._file.unlink()


def _configure_logging() -> None:
    """Log to standard output, which SageMaker sends to CloudWatch, one line per record."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
    for name in ("contract", "training", "training_job"):
        logging.getLogger(name).setLevel(logging.INFO)
    log_warnings()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
