"""Conversion of single values, for the columns that can't be converted as a whole.

It takes the time to find the first invalid value; its error names the row and the column.
"""

import math
from collections.abc import Callable, Sequence, Set
from typing import TypeVar

from contract.release import MISSING_INT64, Column
from serving.errors import RequestError

T = TypeVar("T")
Values = Sequence[object]

NUMBER_TYPES = {int, float, type(None)}
STRING_TYPES = {str, type(None)}
MAX_EXACT_INTEGER = 2.0**53
"""Up to here a float64 represents every integer."""
NAN_STRINGS = frozenset({"nan", "NaN"})
BOOLEAN_STRINGS = {"true": True, "false": False}
TYPE_NAMES = {
    "long": "an integer",
    "double": "a number",
    "boolean": "a boolean",
    "string": "a string",
}
MAX_SHOWN_LENGTH = 40
"""Characters of an invalid value in a message."""


class StringColumn:
    """A column of strings and its categories."""

    def __init__(self, column: Column, missing_strings: frozenset[str]) -> None:
        """Collect the values that the column takes.

        Args:
            column: The column of the manifest.
            missing_strings: The strings that stand for a missing value in any column.
        """
        self.column = column
        self.categories = frozenset(column.categories) - missing_strings
        # The name of a category may stand for a missing value in other columns: "nan".
        self._missing = frozenset({None, *missing_strings, *(NAN_STRINGS - self.categories)})
        self._expected = self.categories | self._missing
        # In the other role a missing value is a category of its own, and is not imputed.
        self._imputed = column.role != "text_category_with_missing"

    def convert(self, values: Values) -> tuple[Values, int, int]:
        """Return the values with "" for missing ones, and how many are imputed and unknown."""
        converted = ["" if value in self._missing else value for value in values]
        imputed = converted.count("") if self._imputed else 0
        if self._expected.issuperset(values):
            return converted, imputed, 0
        unknown = [value for value in values if value not in self._expected]
        for value in unknown:
            self._refuse_lone_surrogates(value, values)
        return converted, imputed, len(unknown)

    def _refuse_lone_surrogates(self, value: object, values: Values) -> None:
        """Refuse half of a surrogate pair, which JSON can escape and UTF-8 can't encode."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise _invalid_value(self.column, values.index(value) + 1, value) from None


def convert_each(column: Column, values: Values, convert: Callable[[object], T]) -> list[T]:
    """Convert the values of a column one by one.

    Raises:
        RequestError: `convert` refused a value.
    """
    converted = []
    for row, value in enumerate(values, start=1):
        try:
            converted.append(convert(value))
        except (ValueError, TypeError, KeyError, OverflowError):
            raise _invalid_value(column, row, value) from None
    return converted


def remove_missing_strings(values: Values, missing_strings: Set[str], all_strings: bool) -> Values:
    """Return a column of numbers with None for the strings that stand for a missing value.

    Raises:
        ValueError: A string is not a number.
        TypeError: A value is neither a number nor a string.
    """
    if all_strings:
        if "_" in "".join(map(str, values)):  # Python parses 1_000, others don't
            raise ValueError
        return [None if value in missing_strings else float(value) for value in values]  # type: ignore[arg-type]
    types = set(map(type, values))
    if types <= NUMBER_TYPES:
        return values
    if not types <= NUMBER_TYPES | {str}:
        raise TypeError
    missing = missing_strings | NAN_STRINGS
    if any(isinstance(value, str) and value not in missing for value in values):
        raise ValueError
    return [None if isinstance(value, str) else value for value in values]


def number_converter(
    missing_strings: Set[str], all_strings: bool, largest: float
) -> Callable[[object], float]:
    """Return a function that converts one number, NaN for a missing one.

    It raises ValueError, TypeError or OverflowError for a value that isn't a number up to
    `largest`. Strings are only parsed as numbers if all values are strings, as in CSV.
    """

    def convert(value: object) -> float:
        if isinstance(value, str):
            if value in missing_strings or value in NAN_STRINGS:
                return math.nan
            if not all_strings or "_" in value:
                raise ValueError
            value = float(value)
        if value is None:
            return math.nan
        if type(value) not in NUMBER_TYPES:
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
        if abs(number) > largest:
            raise OverflowError
        return number

    return convert


def to_int64(number: float) -> int:
    """Convert a float, `MISSING_INT64` for NaN; raise ValueError if it isn't an integer."""
    if math.isnan(number):
        return MISSING_INT64
    if number != int(number):
        raise ValueError
    return int(number)


def to_boolean(value: object, all_strings: bool) -> bool:
    """Convert a boolean, or a string in CSV; raise TypeError or KeyError for another value."""
    if all_strings and isinstance(value, str):
        return BOOLEAN_STRINGS[value.strip().lower()]
    if not isinstance(value, bool):
        raise TypeError
    return value


def to_string(value: object) -> str:
    """Convert a string, "" for None and NaN; raise TypeError for another value."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    raise TypeError


def _invalid_value(column: Column, row: int, value: object) -> RequestError:
    expected = TYPE_NAMES[column.type]
    # A value of the right type was refused because it is too large.
    numbers = {"long": int, "double": int | float}.get(column.type)
    if numbers and isinstance(value, numbers) and not isinstance(value, bool):
        expected += " in the model's range"
    return RequestError(f'row {row}, column "{column.name}": {_show(value)} is not {expected}')


def _show(value: object) -> str:
    if value is None:
        return "a missing value"
    if isinstance(value, dict | list):
        return "a nested value"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a huge number"
    text = ascii(value) if isinstance(value, str) else str(value).lower()
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}..."
