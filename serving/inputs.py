"""From the values of a request to what the graph takes: types checked, gaps and strangers counted.

Columns of one type are checked and converted together: for a single row, which is what an endpoint
is asked for most, eighty conversions would take longer than the prediction.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contract.release import MISSING_INT64, Column, Manifest
from serving.errors import RequestError

T = TypeVar("T")
Values = Sequence[object]
NUMBERS = {int, float, type(None)}
TEXTS = {str, type(None)}
EXACT = 2.0**53
"""Up to here a float64 holds every whole number."""
WRITTEN_NAN = ("nan", "NaN")
WANTED = {
    "long": "a whole number",
    "double": "a number",
    "boolean": "true or false",
    "string": "a text",
}
TRUTH = {"true": True, "false": False}
SHOWN = 40
"""Characters of a value in a message."""


@dataclass(frozen=True)
class RequestRows:
    """The rows of a request by columns, as they were sent."""

    columns: Mapping[str, Values]
    rows: int
    textual: bool = False
    """Whether all values are text, as in CSV, of which numbers are yet to be read."""


@dataclass(frozen=True)
class ModelInputs:
    """The same rows as the graph takes them."""

    feeds: Mapping[str, NDArray[np.generic]]
    """By `Column.packed_input`: columns x rows."""
    rows: int
    imputed: int
    """Values that the graph puts in place of missing ones."""
    unknown: int
    """Categories that were not seen in training."""


class Schema:
    """The columns of a release, and how values become theirs."""

    def __init__(self, manifest: Manifest) -> None:
        """Sort the columns by what the graph takes."""
        self.names = tuple(column.name for column in manifest.columns)
        self.required = frozenset(column.name for column in manifest.columns if column.required)
        self._missing = frozenset({"", *manifest.missing_values})
        self._texts = [
            _TextColumn(column, self._missing)
            for column in manifest.columns
            if column.type == "string"
        ]
        self._packs: dict[str, list[Column]] = {}
        for column in manifest.columns:
            self._packs.setdefault(column.packed_input, []).append(column)
        self._codes = [
            (packed_input, line, frozenset(map(float, column.categories)))
            for packed_input, columns in self._packs.items()
            for line, column in enumerate(columns)
            if column.role == "code" and packed_input != "string"
        ]

    def read(self, frame: RequestRows) -> ModelInputs:
        """Convert a request's rows.

        Raises:
            RequestError: A required column is missing, or a value is of another type; the message
                names the row, counted from 1, and the column.
        """
        self._refuse_lacking(frame)
        feeds: dict[str, NDArray[np.generic]] = {}
        imputed = unknown = 0
        for packed_input, columns in self._packs.items():
            match packed_input:
                case "string":
                    feeds[packed_input], imputed_texts, unknown = self._read_texts(frame)
                    imputed += imputed_texts
                case "long":
                    feeds[packed_input] = whole = self._read_whole(frame, columns)
                    imputed += int((whole == MISSING_INT64).sum())
                case "boolean":
                    feeds[packed_input] = self._read_truths(frame, columns)
                case _:
                    # float32 has no room for a long code.
                    kind = np.float64 if packed_input == "code" else np.float32
                    feeds[packed_input] = numbers = self._read_numbers(frame, columns, kind)
                    imputed += int(np.isnan(numbers).sum())
        for packed_input, line, known in self._codes:
            values = feeds[packed_input][line].tolist()
            if not known.issuperset(values):
                unknown += sum(
                    one not in known and one != MISSING_INT64 and not math.isnan(one)
                    for one in values
                )
        return ModelInputs(feeds, frame.rows, imputed, unknown)

    def _refuse_lacking(self, frame: RequestRows) -> None:
        if not self.required <= frame.columns.keys():
            lacking = [one for one in self.names if one in self.required - frame.columns.keys()]
            named = ", ".join(f'"{name}"' for name in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise RequestError(f"the required columns {named}{more} are missing")

    def _read_texts(self, frame: RequestRows) -> tuple[NDArray[np.object_], int, int]:
        """Return columns x rows, and how many values are imputed and unknown."""
        raw = _gather(frame, (one.column for one in self._texts))
        if not set(map(type, chain.from_iterable(raw))) <= TEXTS:
            raw = [
                _each(text.column, values, _text)
                for text, values in zip(self._texts, raw, strict=True)
            ]
        imputed = unknown = 0
        clean = []
        for text, values in zip(self._texts, raw, strict=True):
            if not text.known.issuperset(values):
                values, gaps, strangers = text.read(values)  # noqa: PLW2901
                imputed += gaps
                unknown += strangers
            clean.append(values)
        return np.array(clean, dtype=object), imputed, unknown

    def _read_numbers(
        self, frame: RequestRows, columns: Sequence[Column], kind: type[np.floating]
    ) -> NDArray[np.floating]:
        """Return columns x rows, NaN for what is missing."""
        raw = _gather(frame, columns)
        plain = not frame.textual and set(map(type, chain.from_iterable(raw))) <= NUMBERS
        try:
            with np.errstate(over="ignore"):
                values = raw if plain else [self._plain(frame, one) for one in raw]
                numbers = np.array(values, np.float64).astype(kind)
        except (ValueError, TypeError, OverflowError):
            numbers = np.full((len(columns), frame.rows), np.inf, kind)
        if np.isinf(numbers).any():  # or something is wrong, and each is looked at to tell what
            convert = self._number(frame.textual, float(np.finfo(kind).max))
            values = [_each(*pair, convert) for pair in zip(columns, raw, strict=True)]
            numbers = np.array(values, kind)
        return numbers

    def _read_whole(self, frame: RequestRows, columns: Sequence[Column]) -> NDArray[np.int64]:
        """Return columns x rows, `MISSING_INT64` for what is missing."""
        raw = _gather(frame, columns)
        if not frame.textual and set(map(type, chain.from_iterable(raw))) == {int}:
            try:
                whole = np.array(raw, np.int64)
            except OverflowError:
                whole = np.full((1, 1), MISSING_INT64)
            if (whole != MISSING_INT64).all():
                return whole
        convert = self._number(frame.textual, EXACT)
        pairs = zip(columns, raw, strict=True)
        return np.array(
            [_each(*pair, lambda one: _whole(convert(one))) for pair in pairs], np.int64
        )

    def _read_truths(self, frame: RequestRows, columns: Sequence[Column]) -> NDArray[np.bool_]:
        def convert(value: object) -> bool:
            if frame.textual and isinstance(value, str):
                return TRUTH[value.strip().lower()]
            if not isinstance(value, bool):
                raise TypeError
            return value

        pairs = zip(columns, _gather(frame, columns), strict=True)
        return np.array([_each(*pair, convert) for pair in pairs])

    def _plain(self, frame: RequestRows, values: Values) -> Values:
        """Return a column without the texts that stand for a missing value."""
        if frame.textual:
            if "_" in "".join(map(str, values)):  # Python reads 1_000, others don't
                raise ValueError
            return [None if one in self._missing else float(one) for one in values]  # type: ignore[arg-type]
        kinds = set(map(type, values))
        if kinds <= NUMBERS:
            return values
        if not kinds <= NUMBERS | {str}:
            raise TypeError
        gaps = self._missing | set(WRITTEN_NAN)
        if any(isinstance(one, str) and one not in gaps for one in values):
            raise ValueError
        return [None if isinstance(one, str) else one for one in values]

    def _number(self, textual: bool, largest: float) -> Callable[[object], float]:
        """Return what reads one number, and fails where it is none or too large."""

        def convert(value: object) -> float:
            if isinstance(value, str):
                if value in self._missing or value in WRITTEN_NAN:
                    return math.nan
                if not textual or "_" in value:
                    raise ValueError
                value = float(value)
            if value is None:
                return math.nan
            if type(value) not in NUMBERS:
                raise TypeError
            number = float(value)  # type: ignore[arg-type]
            if abs(number) > largest:
                raise OverflowError
            return number

        return convert


class _TextColumn:
    """A column of text and its categories."""

    def __init__(self, column: Column, missing: frozenset[str]) -> None:
        self.column = column
        # A category's name may be what stands for a missing value elsewhere.
        self.known = frozenset(column.categories) - missing
        self._blanks = frozenset({None, *missing, *(set(WRITTEN_NAN) - self.known)})
        self._expected = self.known | self._blanks
        # There a missing value says something, and nothing is put in its place.
        self._imputed = column.role != "optional_text"

    def read(self, values: Values) -> tuple[Values, int, int]:
        """Return the values with missing ones as "", and how many are imputed and unknown."""
        clean = ["" if one in self._blanks else one for one in values]
        gaps = clean.count("") if self._imputed else 0
        if self._expected.issuperset(values):
            return clean, gaps, 0
        strangers = [one for one in values if one not in self._expected]
        for stranger in strangers:
            self._refuse_broken(stranger, values)
        return clean, gaps, len(strangers)

    def _refuse_broken(self, text: object, values: Values) -> None:
        """Refuse half a character, which JSON can write and UTF-8 can't."""
        try:
            str(text).encode()
        except UnicodeEncodeError:
            raise _wrong(self.column, values.index(text) + 1, text) from None


def _gather(frame: RequestRows, columns: Iterable[Column]) -> list[Values]:
    """Return the columns' values; what was left out is missing in each row."""
    nothing = [""] * frame.rows if frame.textual else [None] * frame.rows
    return [frame.columns.get(column.name, nothing) for column in columns]


def _each(column: Column, values: Values, convert: Callable[[object], T]) -> list[T]:
    converted = []
    for row, value in enumerate(values, start=1):
        try:
            converted.append(convert(value))
        except (ValueError, TypeError, KeyError, OverflowError):
            raise _wrong(column, row, value) from None
    return converted


def _wrong(column: Column, row: int, value: object) -> RequestError:
    if value is None:
        shown = "a missing value"
    elif isinstance(value, dict | list):
        shown = "a nested value"
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        shown = "a huge number"
    else:
        text = ascii(value) if isinstance(value, str) else str(value).lower()
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    wanted = WANTED[column.type]
    if isinstance(value, int | float) and not isinstance(value, bool) and wanted != "a text":
        wanted += " that the model has room for" if column.type == "double" else ""
    return RequestError(f'row {row}, column "{column.name}": {shown} is not {wanted}')


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    raise TypeError


def _whole(number: float) -> int:
    if math.isnan(number):
        return MISSING_INT64
    if number != int(number):
        raise ValueError
    return int(number)
