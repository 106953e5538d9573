"""The training table, split into training and validation rows by a seed, and the test table.

Rows stay raw here, as in the tables: `training.data.features` fits imputation and encoding, on the
training rows only.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from contract.errors import DataError
from contract.settings.loader import Settings
from training.data.tables import RawTable, combine_digests, is_text_column, read_table

MOSTLY_NUMERIC = 0.9
"""A text column with this fraction of numbers is taken for a numeric one with an invalid value."""


@dataclass(frozen=True)
class Dataset:
    """Rows with their labels."""

    X: pd.DataFrame
    """Raw rows x feature columns."""
    y: "pd.Series[float]"
    """The labels (dollars), on the same index."""
    source: str
    digest: str
    """SHA-256 of the files that were read, in hex."""
    size: int
    """The bytes of these files."""

    def to_frame(self) -> pd.DataFrame:
        """Return features and labels in one table, the label last."""
        return pd.concat([self.X, self.y], axis=1)


@dataclass(frozen=True)
class Split:
    """The training table, split into training and validation rows."""

    X_train: pd.DataFrame
    X_val: pd.DataFrame
    y_train: "pd.Series[float]"
    y_val: "pd.Series[float]"
    source: str
    digest: str
    size: int
    """The bytes of the whole table's files."""

    @property
    def train(self) -> Dataset:
        """The rows that models and features are fitted on."""
        return Dataset(self.X_train, self.y_train, self.source, self.digest, self.size)

    @property
    def val(self) -> Dataset:
        """The rows that models are compared on."""
        return Dataset(self.X_val, self.y_val, self.source, self.digest, self.size)


def read_training(settings: Settings) -> Dataset:
    """Read the training table without its id, and validate all that needs no training.

    Raises:
        DataError: The table can't be trained on; the message names the column or row.
    """
    data = settings.data
    table = _read_table(data.train, settings)
    table.require_column(data.label, "data.label")
    if data.id:
        table.require_column(data.id, "data.id")
        _check_unique(table, data.id)
    for setting in ("drop", "categorical", "missing_as_category"):
        for column in getattr(data, setting):
            table.require_column(column, f"data.{setting}")
    _count_validation_rows(len(table.rows), table.source, settings)
    y = _read_label(table, data.label)
    X = table.rows.drop(columns=list({data.label, *([data.id] if data.id else []), *data.drop}))
    _check_features(X, table.source, settings)
    return Dataset(X, y, table.source, table.digest, table.size)


def read_test(settings: Settings, training: Dataset) -> Dataset | None:
    """Read the test table and its labels, with the training table's columns; None if none is set.

    Raises:
        DataError: A column is missing or of another type than in the training table, or a row has
            no label.
    """
    data = settings.data
    if not data.test:
        return None
    text = [str(column) for column in training.X if is_text_column(training.X[column])]
    table = _read_table(data.test, settings, text)
    if len(table.rows) < 2:
        raise DataError(f"{table.source}: a test table needs at least two rows")
    for column in training.X:
        table.require_column(str(column), f"a column of {training.source}")
    X = table.rows[training.X.columns].copy()
    for column in X:
        X[column] = _match_type(X[column], training.X[column], table)
    if not data.test_labels:
        table.require_column(data.label, "data.label; data.test_labels names no other table")
        y = _read_label(table, data.label)
        return Dataset(X, y, table.source, table.digest, table.size)
    labels = _read_table(data.test_labels, settings)
    labels.require_column(data.label, "data.label")
    y = _join_label(table, labels, settings)
    digest = combine_digests([table.digest, labels.digest])
    return Dataset(X, y, table.source, digest, table.size + labels.size)


def split(dataset: Dataset, settings: Settings) -> Split:
    """Split the rows at random, by the seed."""
    n_validation = _count_validation_rows(len(dataset.X), dataset.source, settings)
    X_train, X_val, y_train, y_val = train_test_split(
        dataset.X, dataset.y, test_size=n_validation, random_state=settings.data.seed
    )
    return Split(X_train, X_val, y_train, y_val, dataset.source, dataset.digest, dataset.size)


def _read_table(path: str, settings: Settings, text: Collection[str] = ()) -> RawTable:
    copy = settings.find_copy(path)
    source = path if copy else settings.resolve_path(path)
    return read_table(source, settings.data.missing_values, text, copy)


def _count_validation_rows(rows: int, source: str, settings: Settings) -> int:
    fraction = settings.data.validation_fraction
    n_validation = round(rows * fraction)
    if min(n_validation, rows - n_validation) < 2:
        split_name = f"a validation fraction of {fraction}"
        reason = f"{rows} row{'s' if rows > 1 else ''} can't be split with {split_name}"
        raise DataError(f"{source}: {reason}: each part needs at least two rows")
    return n_validation


def _read_label(table: RawTable, name: str) -> "pd.Series[float]":
    column = table.rows[name]
    if (missing := column.isna()).any():
        raise DataError(f"{table.source}: row {table.first_row(missing)}: {name} is missing")
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    if (invalid := numbers.isna() | numbers.abs().eq(np.inf)).any():
        row = table.first_row(invalid)
        value = column.iloc[row - 1]
        raise DataError(f"{table.source}: row {row}: {name} is {value!r}, which is not a number")
    return numbers


def _join_label(table: RawTable, labels: RawTable, settings: Settings) -> "pd.Series[float]":
    label, key = settings.data.label, settings.data.id
    values = _read_label(labels, label)
    if not key:
        if len(values) != len(table.rows):
            reason = f"{len(values)} labels for the {len(table.rows)} rows of {table.source}"
            raise DataError(f"{labels.source}: {reason}")
        return values
    for raw in (table, labels):
        raw.require_column(key, "data.id")
        _check_unique(raw, key)
    joined = table.rows[key].map(values.set_axis(labels.rows[key]))
    if (missing := joined.isna()).any():
        value = table.rows[key].iloc[table.first_row(missing) - 1]
        raise DataError(f"{labels.source}: no {label} for {key} {value} of {table.source}")
    return joined.rename(label)


def _check_unique(table: RawTable, key: str) -> None:
    ids = table.rows[key]
    if (duplicates := ids.duplicated()).any():
        second = table.first_row(duplicates)
        value = ids.iloc[second - 1]
        first = table.first_row(ids.isna() if pd.isna(value) else ids == value)
        raise DataError(f"{table.source}: {key} {value} is in row {first} and in row {second}")


def _check_features(X: pd.DataFrame, source: str, settings: Settings) -> None:
    if X.empty:
        raise DataError(f"{source}: no feature column is left")
    for column in X:
        if X[column].isna().all():
            reason = "has no value in any row; add it to data.drop"
            raise DataError(f"{source}: column {column!r} {reason}")
        if is_text_column(X[column]) and column not in settings.data.categorical:
            _check_mostly_numeric(X[column], source)
    for column in settings.data.categorical:
        if column in X and not is_text_column(X[column]) and (X[column].dropna() % 1 != 0).any():
            raise DataError(
                f"{source}: column {column!r} (data.categorical) holds fractions, not codes"
            )
    for column in settings.data.missing_as_category:
        if column in X and not is_text_column(X[column]):
            reason = "holds numbers; only a text column can have a category for missing values"
            raise DataError(f"{source}: column {column!r} (data.missing_as_category) {reason}")


def _check_mostly_numeric(column: "pd.Series[str]", source: str) -> None:
    """Raise if invalid values made a numeric column text: each number would be a category."""
    counts = column.value_counts()  # to convert each text once: converting is slow
    numbers = pd.to_numeric(counts.index.to_series(), errors="coerce").notna().to_numpy()
    if not numbers.all() and counts[numbers].sum() >= MOSTLY_NUMERIC * counts.sum():
        row = int(np.flatnonzero(column.isin(counts.index[~numbers]))[0])
        reason = f"row {row + 1}: {column.name} is {column.iloc[row]!r} among numbers"
        fix = "fix it, or add it to data.missing_values, or the column to data.categorical"
        raise DataError(f"{source}: {reason}: {fix}")


def _match_type(
    column: "pd.Series[Any]", training: "pd.Series[Any]", table: RawTable
) -> "pd.Series[Any]":
    """Raise if a test column isn't of the training column's type; without values, convert it."""
    if column.isna().all():
        return column.astype("str" if is_text_column(training) else "float64")
    if is_text_column(column) != is_text_column(training):
        found, expected = ("text", "numbers") if is_text_column(column) else ("numbers", "text")
        reason = f"column {column.name!r} holds {found}, but {expected} in the training table"
        raise DataError(f"{table.source}: {reason}")
    return column
