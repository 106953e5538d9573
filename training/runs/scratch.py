"""The scratch folder of a training, which the next training removes if its process was killed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.runs.run_lock import is_locked


@contextmanager
def scratch_folder(parent: Path, run_id: str, locks: Path) -> Iterator[Path]:
    """Create a folder for temporary files, and remove it on exit.

    Folders of trainings whose process is gone (`kill -9`, a power cut) are removed first.

    Args:
        parent: Where the trainings of this machine have their scratch folders, one per run.
        run_id: The training's run, whose lock the caller holds.
        locks: The folder of the runs' lock files.
    """
    _remove_orphans(parent, locks)
    folder = parent / run_id
    try:
        # This run's own may be left from the process that is resumed.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError:  # the project's folder can't be written, as in a read-only container
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans(parent: Path, locks: Path) -> None:
    for folder in parent.iterdir() if parent.is_dir() else []:
        if not is_locked(locks, folder.name):
            shutil.rmtree(folder, ignore_errors=True)
