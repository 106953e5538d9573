"""The fingerprint of a training: one digest of everything that its results depend on."""

import hashlib
import json
from pathlib import Path

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.data.dataset import Dataset, Split
from training.result_settings import result_settings
from training.runs.model_writer import pinned_requirements
from training.search.grid import FamilyGrid

CODE = (
    "training/data",
    "training/families",
    "training/family_registry.py",
    "training/leaderboard.py",
    "training/metrics.py",
    "training/params.py",
    "training/plan.py",
    "training/runs/model_writer.py",
    "training/runs/skops_file.py",
    "training/search/grid.py",
    "training/train.py",
)
"""The modules that compute results: features, fits, metrics, the winner, and the model's files."""


def fingerprint(
    settings: Settings, grids: list[FamilyGrid], data_split: Split, test: Dataset | None
) -> str:
    """Return a digest that two trainings share if nothing makes their results differ.

    It covers the data, the settings and the code that affect results, the combinations, and the
    versions of the libraries that compute.
    """
    requirements = {
        name for grid in grids for name in pinned_requirements(grid.family.requirements)
    }
    parts = {
        "data": data_split.digest,
        "test": test.digest if test else None,
        "settings": result_settings(settings),
        "combinations": {
            grid.name: [dict(params) for params in grid.combinations] for grid in grids
        },
        "code": code_digest(PROJECT_ROOT),
        "requirements": sorted(requirements),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_digest(root: Path) -> str:
    """Return a digest of the code that computes.

    Args:
        root: The folder that the packages are in.
    """
    digest = hashlib.sha256()
    for name in CODE:
        place = root / name
        files = sorted(place.rglob("*.py"), key=Path.as_posix) if place.is_dir() else [place]
        for file in files:
            digest.update(file.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
