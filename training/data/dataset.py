"""The data: the training table, split by a seed into what trains and what judges, and the test.

Rows stay raw here, as the table has them: imputing and encoding is learned in `training.data.features`,
from the training rows alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from contract.errors import DataError
from contract.settings.loader import Settings
from training.data.tables import RawTable, combine_digests, is_text_column, read_table

MOSTLY = 0.9
"""A text column with this share of numbers is taken for one of numbers with a stray text in it."""


@dataclass(frozen=True)
class Dataset:
    """Rows with their label."""

    X: pd.DataFrame
    """Raw rows x feature columns."""
    y: "pd.Series[float]"
    """The label (dollars), on the same index."""
    source: str
    digest: str
    """SHA-256 of what was read, in hex."""

    def table(self) -> pd.DataFrame:
        """Return features and label in one table, the label last."""
        return pd.concat([self.X, self.y], axis=1)


@dataclass(frozen=True)
class Split:
    """The training table's rows, parted by the seed."""

    X_train: pd.DataFrame
    X_val: pd.DataFrame
    y_train: "pd.Series[float]"
    y_val: "pd.Series[float]"
    source: str
    digest: str

    @property
    def sizes(self) -> tuple[int, int]:
        """How many rows train, and how many judge."""
        return len(self.X_train), len(self.X_val)

    @property
    def train(self) -> Dataset:
        """The rows that models and features learn from."""
        return Dataset(self.X_train, self.y_train, self.source, self.digest)

    @property
    def val(self) -> Dataset:
        """The rows that models are compared on."""
        return Dataset(self.X_val, self.y_val, self.source, self.digest)


def read_training(settings: Settings) -> Dataset:
    """Read the training table, drop its id and check what can be checked before any work begins.

    Raises:
        DataError: The table can't be trained on; the message names the column or row.
    """
    data = settings.data
    table = read_table(settings.resolve_path(data.train), data.missing_values)
    table.require(data.label, "data.label")
    if data.id:
        table.require(data.id, "data.id")
        _refuse_duplicates(table, data.id)
    for setting in ("drop", "categorical", "missing_as_category"):
        for column in getattr(data, setting):
            table.require(column, f"data.{setting}")
    _validation_rows(len(table.rows), table.source, settings)
    y = _label(table, data.label)
    X = table.rows.drop(columns=list({data.label, *([data.id] if data.id else []), *data.drop}))
    _check_features(X, table.source, settings)
    return Dataset(X, y, table.source, table.digest)


def read_test(settings: Settings, training: Dataset) -> Dataset | None:
    """Read the test table and its labels, aligned with the training table; None where none is set.

    Raises:
        DataError: The table lacks a feature, holds another type in it, or a row has no label.
    """
    data = settings.data
    if not data.test:
        return None
    text = [str(column) for column in training.X if is_text_column(training.X[column])]
    table = read_table(settings.resolve_path(data.test), data.missing_values, text)
    if len(table.rows) < 2:
        raise DataError(f"{table.source}: a test table needs two rows or more")
    for column in training.X:
        table.require(str(column), f"which {training.source} has")
    X = table.rows[training.X.columns].copy()
    for column in X:
        X[column] = _like(training.X[column], X[column], table)
    if not data.test_labels:
        table.require(data.label, "data.label; data.test_labels names no other table")
        return Dataset(X, _label(table, data.label), table.source, table.digest)
    labels = read_table(settings.resolve_path(data.test_labels), data.missing_values)
    labels.require(data.label, "data.label")
    y = _joined_label(table, labels, settings)
    return Dataset(X, y, table.source, combine_digests([table.digest, labels.digest]))


def split(dataset: Dataset, settings: Settings) -> Split:
    """Part the rows at random, by the seed."""
    for_validation = _validation_rows(len(dataset.X), dataset.source, settings)
    X_train, X_val, y_train, y_val = train_test_split(
        dataset.X, dataset.y, test_size=for_validation, random_state=settings.data.seed
    )
    return Split(X_train, X_val, y_train, y_val, dataset.source, dataset.digest)


def _validation_rows(rows: int, source: str, settings: Settings) -> int:
    share = settings.data.validation_fraction
    for_validation = round(rows * share)
    if min(for_validation, rows - for_validation) < 2:
        reason = f"{rows} row{'s' if rows > 1 else ''} can't be split with {share} for validation"
        raise DataError(f"{source}: {reason}: each side needs two")
    return for_validation


def _label(table: RawTable, name: str) -> "pd.Series[float]":
    column = table.rows[name]
    if (gaps := column.isna()).any():
        raise DataError(f"{table.source}: row {table.row(gaps)}: {name} is missing")
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    if (texts := numbers.isna() | numbers.abs().eq(np.inf)).any():
        row = table.row(texts)
        value = column.iloc[row - 1]
        raise DataError(f"{table.source}: row {row}: {name} is {value!r}, which is not a number")
    return numbers


def _joined_label(table: RawTable, labels: RawTable, settings: Settings) -> "pd.Series[float]":
    label, key = settings.data.label, settings.data.id
    values = _label(labels, label)
    if not key:
        if len(values) != len(table.rows):
            reason = f"{len(values)} labels for the {len(table.rows)} rows of {table.source}"
            raise DataError(f"{labels.source}: {reason}")
        return values
    for one in (table, labels):
        one.require(key, "data.id")
        _refuse_duplicates(one, key)
    joined = table.rows[key].map(values.set_axis(labels.rows[key]))
    if (gaps := joined.isna()).any():
        row = table.rows[key].iloc[table.row(gaps) - 1]
        raise DataError(f"{labels.source}: no {label} for {key} {row}, which {table.source} has")
    return joined.rename(label)


def _refuse_duplicates(table: RawTable, key: str) -> None:
    ids = table.rows[key]
    if (again := ids.duplicated()).any():
        second = table.row(again)
        value = ids.iloc[second - 1]
        first = table.row(ids == value) if not pd.isna(value) else table.row(ids.isna())
        raise DataError(f"{table.source}: {key} {value} is in row {first} and in row {second}")


def _check_features(X: pd.DataFrame, source: str, settings: Settings) -> None:
    if X.empty:
        raise DataError(f"{source}: no column is left to learn from")
    for column in X:
        if X[column].isna().all():
            reason = "has no value in any row; data.drop can leave it out"
            raise DataError(f"{source}: column {column!r} {reason}")
        if is_text_column(X[column]) and column not in settings.data.categorical:
            _refuse_text_among_numbers(X[column], source)
    for column in settings.data.categorical:
        if column in X and not is_text_column(X[column]) and (X[column].dropna() % 1 != 0).any():
            raise DataError(
                f"{source}: column {column!r} (data.categorical) holds fractions: no codes"
            )
    for column in settings.data.missing_as_category:
        if column in X and not is_text_column(X[column]):
            reason = (
                "(data.missing_as_category) holds numbers: only text can have a category for none"
            )
            raise DataError(f"{source}: column {column!r} {reason}")


def _refuse_text_among_numbers(column: "pd.Series[str]", source: str) -> None:
    """Refuse a column that a stray text has made one of text: each number would be a category."""
    counts = column.value_counts()  # of each text once: converting is slow
    numbers = pd.to_numeric(counts.index.to_series(), errors="coerce").notna().to_numpy()
    if not numbers.all() and counts[numbers].sum() >= MOSTLY * counts.sum():
        row = int(np.flatnonzero(column.isin(counts.index[~numbers]))[0])
        reason = f"row {row + 1}: {column.name} is {column.iloc[row]!r} among numbers"
        mend = "mend it, or name it in data.missing_values, or the column in data.categorical"
        raise DataError(f"{source}: {reason}: {mend}")


def _like(known: "pd.Series[Any]", column: "pd.Series[Any]", table: RawTable) -> "pd.Series[Any]":
    """Refuse a test column whose type isn't the training column's; an all-missing one fits both."""
    if column.isna().all():
        return column.astype("str" if is_text_column(known) else "float64")
    if is_text_column(column) != is_text_column(known):
        found, wanted = ("text", "numbers") if is_text_column(column) else ("numbers", "text")
        reason = f"column {column.name!r} holds {found}, where the training table has {wanted}"
        raise DataError(f"{table.source}: {reason}")
    return column
