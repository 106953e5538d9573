"""What the results of a training depend on, as one digest."""

import hashlib
import json
from pathlib import Path

from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from training.data.dataset import Dataset, Split
from training.runs.model_writer import pinned_requirements
from training.search.grid import FamilyGrid

CODE = ("contract", "training")
"""The rooms whose code takes part in the results."""


def fingerprint(
    settings: Settings, grids: list[FamilyGrid], split: Split, test: Dataset | None
) -> str:
    """Return a digest that two trainings share where nothing lets their results differ.

    It covers the data, the settings without where and under which name it is tracked, the code, and
    the versions of the libraries that compute.
    """
    chosen = settings.model_dump(
        mode="json", exclude={"tracking": True, "training": {"experiment"}}
    )
    versions = {name for grid in grids for name in pinned_requirements(grid.family.requirements)}
    facts = {
        "data": split.digest,
        "test": test.digest if test else None,
        "settings": chosen,
        "combinations": {
            grid.name: [dict(params) for params in grid.combinations] for grid in grids
        },
        "code": _digest_of_code(),
        "versions": sorted(versions),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for room in CODE:
        for file in sorted((PROJECT_ROOT / room).rglob("*.py"), key=Path.as_posix):
            digest.update(file.relative_to(PROJECT_ROOT).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
