"""What is logged of a training's tables: copies, or beyond a size where to read them again.

Each training would otherwise store a large table again, and send it through the tracking server. A
table on this machine is copied in any case: it has no address that another machine can read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from contract.errors import DataError, ReleaseError
from contract.settings.loader import Settings
from training.data.dataset import Dataset, Split, read_test, read_training, split

TABLES_FILE = "tables.json"
MAX_COPIED_BYTES = 50_000_000
"""The size of the source files up to which the tables are copied.

A copy shows what a model was trained on, whatever happens to the source. Up to this size, 100 times
that of the Ames table, it is uploaded in seconds, and 20 trainings a day store a gigabyte.
"""
S3_SCHEME = "s3://"


@dataclass(frozen=True)
class LoggedTable:
    """The entry of a table in TABLES_FILE."""

    sources: tuple[str, ...]
    """The URIs that it was read from; those of the training table for `train` and for `val`."""
    digest: str
    """SHA-256 of the sources' files, in hex."""
    size: int
    """The bytes of these files."""
    rows: int
    rows_digest: str
    """SHA-256 of the rows after the split."""


def write_tables(folder: Path, settings: Settings, data_split: Split, test: Dataset | None) -> None:
    """Write the artifacts: `train.csv`, `val.csv` and `test.csv`, or TABLES_FILE instead.

    Args:
        folder: Where the files are written.
        settings: Name the tables' sources.
        data_split: The training and validation rows.
        test: The test rows.
    """
    datasets = {"train": data_split.train, "val": data_split.val}
    datasets |= {"test": test} if test else {}
    sources = {name: _list_sources(name, settings) for name in datasets}
    size = data_split.size + (test.size if test else 0)
    in_s3 = all(uri.startswith(S3_SCHEME) for uris in sources.values() for uri in uris)
    if in_s3 and size > MAX_COPIED_BYTES:
        entries = {name: _describe(data, sources[name]) for name, data in datasets.items()}
        content = {name: asdict(entry) for name, entry in entries.items()}
        (folder / TABLES_FILE).write_text(json.dumps(content, indent=2))
        return
    # By a text that stands for nothing else: another one might be a category.
    missing = next(iter(settings.data.missing_values), "")
    for name, dataset in datasets.items():
        dataset.to_frame().to_csv(folder / f"{name}.csv", index=False, na_rep=missing)


def load_logged_tables(file: Path) -> dict[str, LoggedTable]:
    """Load TABLES_FILE.

    Raises:
        ReleaseError: It is not valid.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = {name: LoggedTable(**entry) for name, entry in content.items()}
    except (ValueError, TypeError, AttributeError):
        raise ReleaseError(f"{file.name} of the training is not valid") from None
    if not {"train", "val"} <= set(entries):
        raise ReleaseError(f"{file.name} of the training names no training table")
    return entries


def read_logged_tables(
    logged: Mapping[str, LoggedTable], settings: Settings
) -> dict[str, pd.DataFrame]:
    """Read the tables again from their sources, or where these were downloaded to.

    Args:
        logged: The entries of TABLES_FILE.
        settings: With the data settings of the training; by their seed the rows are split again.

    Returns:
        `train`, `val` and, if there is one, `test`: the features, and the label last.

    Raises:
        ReleaseError: A table can't be read, or is not the one that was trained on.
    """
    try:
        training = read_training(settings)
        _check_digest("training", logged["train"], training)
        data_split = split(training, settings)
        datasets = {"train": data_split.train, "val": data_split.val}
        if "test" in logged:
            test = read_test(settings, training)
            if test is None:
                raise ReleaseError("the settings of the training name no test table")
            _check_digest("test", logged["test"], test)
            datasets["test"] = test
    except DataError as error:
        reason = "the training's tables are too large to be logged and are read again"
        raise ReleaseError(f"{reason}: {error}; restore the table, or train again") from None
    frames = {name: dataset.to_frame() for name, dataset in datasets.items()}
    for name, frame in frames.items():
        if hash_rows(frame) != logged[name].rows_digest:
            raise ReleaseError(
                f"{' and '.join(logged[name].sources)}: its {name} rows are no longer those of the "
                "training: this version of the project reads or splits it differently; release "
                "with the commit of the training, or train again"
            )
    return frames


def hash_rows(rows: pd.DataFrame) -> str:
    """Return SHA-256 of the values of all rows, in their order, in hex."""
    hashes = pd.util.hash_pandas_object(rows, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def _list_sources(name: str, settings: Settings) -> tuple[str, ...]:
    data = settings.data
    paths = (data.test, data.test_labels) if name == "test" else (data.train,)
    return tuple(settings.resolve_path(path) for path in paths if path)


def _describe(dataset: Dataset, sources: tuple[str, ...]) -> LoggedTable:
    rows = dataset.to_frame()
    return LoggedTable(sources, dataset.digest, dataset.size, len(rows), hash_rows(rows))


def _check_digest(name: str, logged: LoggedTable, dataset: Dataset) -> None:
    if dataset.digest != logged.digest:
        raise ReleaseError(
            f"{' and '.join(logged.sources)}: the {name} table has changed since it was trained on "
            f"(sha256 {logged.digest[:12]}, now {dataset.digest[:12]}); restore it, or train again"
        )
