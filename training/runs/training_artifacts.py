"""What the parent run stores of a training: its tables, its settings and its code."""

import shutil
from pathlib import Path

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.data.dataset import Dataset, Split
from training.runs.logged_tables import write_tables

LOGGED_CODE = (
    "contract",
    "aws",
    "training",
    "training_job",
    "endpoints",
    "scripts",
    "pyproject.toml",
    "requirements/train.txt",
)
"""What starts and runs a training, as far as it is there: an image has only a part of it."""


def write_artifacts(
    folder: Path, settings: Settings, data_split: Split, test: Dataset | None
) -> None:
    """Write the tables or where they are, the settings and the code.

    Args:
        folder: The folder to create, whose content is logged.
        settings: The training's settings.
        data_split: The training and validation rows.
        test: The test rows.
    """
    folder.mkdir()
    write_tables(folder, settings, data_split, test)
    # Without the tracking URI: it is no part of the training, and may contain a password.
    content = settings.model_dump_json(indent=2, exclude={"tracking"})
    (folder / "settings.json").write_text(content)
    for part in LOGGED_CODE:
        _copy(PROJECT_ROOT / part, folder / "code" / part)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif source.exists():
        shutil.copy(source, target)
