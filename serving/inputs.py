"""The columns of a request as the inputs of the graph: validated, converted and counted.

Columns of one type are validated and converted together: for a single row, which is what most
requests contain, eighty conversions would take longer than the prediction.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from contract.release import MISSING_INT64, Column, Manifest
from serving.errors import RequestError
from serving.values import (
    MAX_EXACT_INTEGER,
    NUMBER_TYPES,
    STRING_TYPES,
    StringColumn,
    Values,
    convert_each,
    number_converter,
    remove_missing_strings,
    to_boolean,
    to_int64,
    to_string,
)

Arrays = dict[str, NDArray[np.generic]]
"""By input of the graph (`Column.packed_input`), of shape (columns, rows)."""


@dataclass(frozen=True)
class RequestRows:
    """The rows of a request by column, as they were sent."""

    columns: Mapping[str, Values]
    row_count: int
    all_strings: bool = False
    """Whether all values are strings, numbers included, as in CSV."""


@dataclass(frozen=True)
class ModelInputs:
    """The rows of a request as the inputs of the graph."""

    arrays: Arrays
    row_count: int
    imputed: int
    """Missing values that the graph imputes."""
    unknown: int
    """Values that are categories not seen in training."""


class Schema:
    """The columns of a release, and the conversion of a request's rows to them."""

    def __init__(self, manifest: Manifest) -> None:
        """Group the columns by input of the graph."""
        self.names = tuple(column.name for column in manifest.columns)
        self.required = frozenset(column.name for column in manifest.columns if column.required)
        self._missing_strings = frozenset({"", *manifest.missing_values})
        self._columns_by_input: dict[str, list[Column]] = {}
        for column in manifest.columns:
            self._columns_by_input.setdefault(column.packed_input, []).append(column)
        self._string_columns = [
            StringColumn(column, self._missing_strings)
            for column in self._columns_by_input.get("string", ())
        ]
        self._numeric_categories = [
            (input_name, index, frozenset(map(float, column.categories)))
            for input_name, columns in self._columns_by_input.items()
            for index, column in enumerate(columns)
            if column.role == "numeric_category" and input_name != "string"
        ]

    def convert(self, rows: RequestRows) -> ModelInputs:
        """Validate and convert the rows of a request.

        Raises:
            RequestError: A required column is missing, or a value has the wrong type; the message
                names the row, counted from 1, and the column.
        """
        self._check_required_columns(rows)
        arrays: Arrays = {}
        imputed = unknown = 0
        for input_name, columns in self._columns_by_input.items():
            match input_name:
                case "string":
                    arrays[input_name], imputed_strings, unknown = self._convert_strings(rows)
                    imputed += imputed_strings
                case "long":
                    arrays[input_name] = integers = self._convert_integers(rows, columns)
                    imputed += int((integers == MISSING_INT64).sum())
                case "boolean":
                    arrays[input_name] = self._convert_booleans(rows, columns)
                case _:
                    # float32 can't represent a numeric category of many digits.
                    dtype = np.float64 if input_name == "category" else np.float32
                    arrays[input_name] = numbers = self._convert_numbers(rows, columns, dtype)
                    imputed += int(np.isnan(numbers).sum())
        unknown += self._count_unknown_numbers(arrays)
        return ModelInputs(arrays, rows.row_count, imputed, unknown)

    def _check_required_columns(self, rows: RequestRows) -> None:
        if self.required <= rows.columns.keys():
            return
        absent = self.required - rows.columns.keys()
        missing = [name for name in self.names if name in absent]
        named = ", ".join(f'"{name}"' for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise RequestError(f"missing required columns: {named}{more}")

    def _convert_strings(self, rows: RequestRows) -> tuple[NDArray[np.object_], int, int]:
        """Return an array (columns, rows), and how many values are imputed and unknown."""
        raw = _select(rows, (string.column for string in self._string_columns))
        if not set(map(type, chain.from_iterable(raw))) <= STRING_TYPES:
            raw = [
                convert_each(string.column, values, to_string)
                for string, values in zip(self._string_columns, raw, strict=True)
            ]
        total_imputed = total_unknown = 0
        converted = []
        for string, values in zip(self._string_columns, raw, strict=True):
            if string.categories.issuperset(values):
                converted.append(values)
                continue
            strings, imputed, unknown = string.convert(values)
            total_imputed += imputed
            total_unknown += unknown
            converted.append(strings)
        return np.array(converted, dtype=object), total_imputed, total_unknown

    def _convert_numbers(
        self, rows: RequestRows, columns: Sequence[Column], dtype: type[np.floating]
    ) -> NDArray[np.floating]:
        """Return an array (columns, rows), NaN for missing values."""
        raw = _select(rows, columns)
        only_numbers = (
            not rows.all_strings and set(map(type, chain.from_iterable(raw))) <= NUMBER_TYPES
        )
        try:
            with np.errstate(over="ignore"):
                values = (
                    raw if only_numbers else [self._remove_missing(rows, column) for column in raw]
                )
                numbers = np.array(values, np.float64).astype(dtype)
        except (ValueError, TypeError, OverflowError):
            numbers = np.full((len(columns), rows.row_count), np.inf, dtype)
        if np.isinf(numbers).any():  # or a conversion failed: find the first invalid value
            convert = self._number_converter(rows, float(np.finfo(dtype).max))
            pairs = zip(columns, raw, strict=True)
            numbers = np.array([convert_each(*pair, convert) for pair in pairs], dtype)
        return numbers

    def _convert_integers(self, rows: RequestRows, columns: Sequence[Column]) -> NDArray[np.int64]:
        """Return an array (columns, rows), `MISSING_INT64` for missing values."""
        raw = _select(rows, columns)
        if not rows.all_strings and set(map(type, chain.from_iterable(raw))) == {int}:
            try:
                integers = np.array(raw, np.int64)
            except OverflowError:
                integers = np.full((1, 1), MISSING_INT64)
            if (integers != MISSING_INT64).all():
                return integers
        to_number = self._number_converter(rows, MAX_EXACT_INTEGER)
        pairs = zip(columns, raw, strict=True)
        return np.array(
            [convert_each(*pair, lambda value: to_int64(to_number(value))) for pair in pairs],
            np.int64,
        )

    def _convert_booleans(self, rows: RequestRows, columns: Sequence[Column]) -> NDArray[np.bool_]:
        """Return an array (columns, rows); a missing value is an error."""
        convert = partial(to_boolean, all_strings=rows.all_strings)
        pairs = zip(columns, _select(rows, columns), strict=True)
        return np.array([convert_each(*pair, convert) for pair in pairs])

    def _count_unknown_numbers(self, arrays: Arrays) -> int:
        unknown = 0
        for input_name, index, categories in self._numeric_categories:
            values = arrays[input_name][index].tolist()
            if not categories.issuperset(values):
                unknown += sum(
                    value not in categories and value != MISSING_INT64 and not math.isnan(value)
                    for value in values
                )
        return unknown

    def _remove_missing(self, rows: RequestRows, values: Values) -> Values:
        return remove_missing_strings(values, self._missing_strings, rows.all_strings)

    def _number_converter(self, rows: RequestRows, largest: float) -> Callable[[object], float]:
        return number_converter(self._missing_strings, rows.all_strings, largest)


def _select(rows: RequestRows, columns: Iterable[Column]) -> list[Values]:
    """Return the values of the columns; those of an absent column are all missing."""
    missing = [""] * rows.row_count if rows.all_strings else [None] * rows.row_count
    return [rows.columns.get(column.name, missing) for column in columns]
