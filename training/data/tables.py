"""Reading a table, CSV or Parquet, from a path, a folder or s3://, and refusing one that is broken.

Types come out as pandas reads them: `int64` for whole numbers without a gap, `float64` for other
numbers, `bool`, and `str` with NaN for text. A model that was trained on them takes such tables.
"""

import csv
import hashlib
import io
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cloudpathlib import AnyPath, CloudPath
from pandas.api import types

from contract.errors import DataError
from contract.release import ColumnType

SUFFIXES = (".csv", ".parquet")
LARGEST = float(np.finfo(np.float32).max)
"""Features are computed in float32: a larger number would become infinite there."""

PANDAS_DTYPES: Mapping[ColumnType, str] = {
    "long": "int64",
    "double": "float64",
    "boolean": "bool",
    "string": "str",
}
"""The dtypes that tables are read as, by the type's name in MLflow schemas and manifests."""
COLUMN_TYPES: Mapping[str, ColumnType] = {dtype: name for name, dtype in PANDAS_DTYPES.items()}


@dataclass(frozen=True)
class RawTable:
    """A table as it was read."""

    rows: pd.DataFrame
    source: str
    """The path or URI that it was read from."""
    digest: str
    """SHA-256 of the file's bytes, in hex; of a folder, of its files' digests, in order."""

    def require(self, column: str, setting: str) -> None:
        """Raise a DataError that names the setting where the table lacks the column."""
        if column not in self.rows:
            names = ", ".join(map(repr, self.rows.columns[:6]))
            other = re.search(r"[;\t|]", names)
            hint = f"; is it separated by {other[0]!r} instead of commas?" if other else ""
            reason = f"no column {column!r} ({setting}); there are {names}, ...{hint}"
            raise DataError(f"{self.source}: {reason}")

    def row(self, mask: "pd.Series[bool]") -> int:
        """Return the number, counted from 1, of the first row in which the mask is true."""
        return int(np.flatnonzero(mask)[0]) + 1


def is_text_column(column: "pd.Series[Any]") -> bool:
    """Tell a column of text from one of numbers."""
    return types.is_string_dtype(column.dtype)


def read_table(source: str, missing: Sequence[str], text: Collection[str] = ()) -> RawTable:
    """Read one file, or all tables in a folder one below the other.

    Args:
        source: A path or `s3://` URI that ends in .csv or .parquet, or a folder of such files.
        missing: The texts that stand for a missing value.
        text: Columns that are text even where a CSV's values look like numbers.

    Raises:
        DataError: There is no such table, or it is empty, malformed or holds what is no table's.
    """
    files = _read_files(source)
    digests = [hashlib.sha256(content).hexdigest() for _, content in files]
    digest = digests[0] if len(digests) == 1 else combine_digests(digests)
    parts = [_parse(name, content, missing, text, typed=len(files) == 1) for name, content in files]
    for (name, _), part in zip(files, parts, strict=True):
        _refuse_other_columns(name, part, files[0][0], parts[0])
    rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if len(parts) > 1 and files[0][0].endswith(".csv"):
        # Types are those of the whole column, not of each file: its parts were read as text.
        rows = _read_csv(source, rows.to_csv(index=False), ["", *missing], text)
    if rows.empty:
        raise DataError(f"{source}: the table is empty")
    return RawTable(rows.apply(_plain, source=source), source, digest)


def combine_digests(digests: Sequence[str]) -> str:
    """Return one digest for several, in their order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _read_files(source: str) -> list[tuple[str, bytes]]:
    try:
        # Whole, so that the digest is that of the very bytes that were parsed.
        return [(str(path), path.read_bytes()) for path in _files(source)]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{source}: {error.strerror or error}") from None
    except Exception as error:
        # A bucket fails in botocore's ways, which are no common tree: no credentials, no bucket,
        # no network. On a local path none of these can be, so there it is a defect.
        if "://" not in source:
            raise
        raise DataError(f"{source}: {' '.join(str(error).split())}") from None


def _files(source: str) -> Sequence[Path | CloudPath]:
    path = AnyPath(source)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix in SUFFIXES), key=str)
        if not files:
            raise DataError(f"{source}: no .csv or .parquet file in this folder")
        return files
    if not path.exists():
        raise DataError(f"{source}: no such file")
    if path.suffix not in SUFFIXES:
        raise DataError(f"{source}: the name of a table must end in .csv or .parquet")
    return [path]


def _parse(
    name: str, content: bytes, missing: Sequence[str], text: Collection[str], typed: bool
) -> pd.DataFrame:
    if name.endswith(".parquet"):
        return _parse_parquet(name, content, missing)
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reason = f"byte {content[error.start]:#04x} is not UTF-8"
        raise DataError(f"{name}: line {line}: {reason}") from None
    if not decoded.strip():
        raise DataError(f"{name}: the file is empty")
    header = _header(name, decoded)
    if len(header) == 1 and (other := re.search(r"[;\t|]", header[0])):
        raise DataError(f"{name}: separated by {other[0]!r}; a table must be separated by commas")
    _refuse_bad_names(name, header)
    return _read_csv(name, decoded, missing, text if typed else header)


def _header(name: str, content: str) -> list[str]:
    try:
        # pandas passes by blank lines in front of it as well.
        return next(row for row in csv.reader(io.StringIO(content)) if row)
    except csv.Error as error:
        raise DataError(f"{name}: its header can't be read: {error}") from None


def _read_csv(
    name: str, content: str, missing: Sequence[str], text: Collection[str]
) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: without this pandas makes an index of the first column.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(content),
                index_col=False,
                dtype=dict.fromkeys(text, "str"),
                keep_default_na=False,
                na_values=list(missing),
                low_memory=False,
            )
    except pd.errors.ParserWarning:
        raise DataError(f"{name}: its rows have more fields than its header") from None
    except pd.errors.ParserError as error:
        raise DataError(f"{name}: {_one_line(error).split('C error: ')[-1]}") from None


def _parse_parquet(name: str, content: bytes, missing: Sequence[str]) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{name}: not readable as Parquet: {_one_line(error)}") from None
    # An index that has a name is a column that someone set apart.
    rows = rows.reset_index(drop=rows.index.names == [None])
    _refuse_bad_names(name, list(map(str, rows.columns)))
    for column in rows.select_dtypes(["object", "string", "category"]):
        values = rows[column].astype(object)
        blank = values.map(lambda value: isinstance(value, str) and value in missing)
        rows[column] = values.mask(blank.astype(bool), np.nan)
    return rows


def _refuse_bad_names(name: str, columns: list[str]) -> None:
    for position, column in enumerate(columns, start=1):
        if not column.strip():
            raise DataError(f"{name}: column {position} has no name")
        if column in columns[: position - 1]:
            first = columns.index(column) + 1
            raise DataError(f"{name}: column {column!r} is there twice, as {first} and {position}")


def _refuse_other_columns(name: str, part: pd.DataFrame, first: str, like: pd.DataFrame) -> None:
    if lacking := sorted(map(str, set(like) - set(part))):
        raise DataError(f"{name}: no column {lacking[0]!r}, which {first} has")
    if further := sorted(map(str, set(part) - set(like))):
        raise DataError(f"{name}: column {further[0]!r}, which {first} lacks")


def _plain(column: "pd.Series[Any]", source: str) -> "pd.Series[Any]":
    """Bring a column to one of the four types, or refuse it by name."""
    gaps = column.isna()
    if types.is_bool_dtype(column.dtype) and not gaps.any():
        return column.astype(bool)
    numeric = types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)
    if numeric and not types.is_bool_dtype(column.dtype):
        return _plain_numbers(column, gaps, source)
    # A column of dtype str can hold nothing else, which saves a look at each value.
    text = column.dtype == "str"
    kinds = {str} if text else {type(value) for value in column[~gaps]}
    if kinds <= {str}:
        return column.where(~gaps, np.nan).astype("str")
    found = " and ".join(sorted(kind.__name__ for kind in kinds)) + "; a column is numbers or text"
    if kinds <= {bool, np.bool_}:
        # As text or as numbers it would be another column to whoever reads it plainly.
        found = "true and false with gaps; write 1 and 0 instead"
    raise DataError(f"{source}: column {column.name!r} holds {found}")


def _plain_numbers(
    column: "pd.Series[Any]", gaps: "pd.Series[bool]", source: str
) -> "pd.Series[Any]":
    if types.is_integer_dtype(column.dtype) and not gaps.any() and column.max() <= 2**63 - 1:
        return column.astype("int64")
    numbers = column.astype("float64")
    if (bad := numbers.abs() > LARGEST).any():
        row = int(np.flatnonzero(bad)[0])
        reason = f"{column.name} is {numbers.iloc[row]}; a number must be finite"
        raise DataError(f"{source}: row {row + 1}: {reason}")
    return numbers


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
