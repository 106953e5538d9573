"""Read and validate a table, CSV or Parquet, from a path, a folder or s3://.

Columns have the types that pandas infers: `int64` for whole numbers without missing values,
`float64` for other numbers, `bool`, and `str` with NaN for text. A trained model takes such tables.
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
MAX_NUMBER = float(np.finfo(np.float32).max)
"""Features are computed in float32, in which a larger number is infinite."""

PANDAS_DTYPES: Mapping[ColumnType, str] = {
    "long": "int64",
    "double": "float64",
    "boolean": "bool",
    "string": "str",
}
"""The dtypes of tables, by the type's name in MLflow schemas and manifests."""
COLUMN_TYPES: Mapping[str, ColumnType] = {dtype: name for name, dtype in PANDAS_DTYPES.items()}


@dataclass(frozen=True)
class RawTable:
    """A table without any preprocessing."""

    rows: pd.DataFrame
    source: str
    """The path or URI that it was read from."""
    digest: str
    """SHA-256 of the file in hex; for a folder, of its files' digests, in order."""
    size: int
    """The bytes of the files."""

    def require_column(self, column: str, setting: str) -> None:
        """Raise a DataError that names the setting if the table lacks the column."""
        if column not in self.rows:
            names = ", ".join(map(repr, self.rows.columns[:6]))
            other = re.search(r"[;\t|]", names)
            hint = f"; is it separated by {other[0]!r} instead of commas?" if other else ""
            reason = f"no column {column!r} ({setting}); there are {names}, ...{hint}"
            raise DataError(f"{self.source}: {reason}")

    def first_row(self, mask: "pd.Series[bool]") -> int:
        """Return the number, counting from 1, of the first row in which the mask is true."""
        return int(np.flatnonzero(mask)[0]) + 1


def is_text_column(column: "pd.Series[Any]") -> bool:
    """Return whether a column holds text."""
    return types.is_string_dtype(column.dtype)


def read_table(
    source: str, missing: Sequence[str], text: Collection[str] = (), copy: Path | None = None
) -> RawTable:
    """Read a file, or all files of a folder as one table.

    Args:
        source: A path or `s3://` URI that ends in .csv or .parquet, or a folder of such files.
        missing: The texts that stand for a missing value.
        text: Columns to read as text even if the values in a CSV file look like numbers.
        copy: The folder that `source` was downloaded to, if it was: it is read there.

    Raises:
        DataError: There is no such table, or it is empty, malformed or has an unsupported type.
    """
    files = _read_files(source, copy)
    size = sum(len(content) for _, content in files)
    digests = [hashlib.sha256(content).hexdigest() for _, content in files]
    digest = digests[0] if len(digests) == 1 else combine_digests(digests)
    parts = [
        _parse(name, content, missing, text, infer_types=len(files) == 1) for name, content in files
    ]
    for (name, _), part in zip(files, parts, strict=True):
        _check_same_columns(name, part, files[0][0], parts[0])
    rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if len(parts) > 1 and files[0][0].endswith(".csv"):
        # Types are inferred from the whole column, not from each file: the parts were read as text.
        rows = _read_csv(source, rows.to_csv(index=False), ["", *missing], text)
    if rows.empty:
        raise DataError(f"{source}: the table is empty")
    return RawTable(rows.apply(_normalize, source=source), source, digest, size)


def combine_digests(digests: Sequence[str]) -> str:
    """Return the digest of several digests, in their order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _read_files(source: str, copy: Path | None) -> list[tuple[str, bytes]]:
    try:
        # As a whole, so that the digest covers exactly the bytes that are parsed.
        files = [(str(path), path.read_bytes()) for path in _files(str(copy or source))]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{source}: {error.strerror or error}") from None
    except Exception as error:
        # botocore's errors (no credentials, no bucket, no network) have no common base class. None
        # of them can occur for a local path, for which any other error is a defect.
        if "://" not in source:
            raise
        raise DataError(f"{source}: {' '.join(str(error).split())}") from None
    return files if copy is None else [(_original(source, name), data) for name, data in files]


def _original(source: str, copied_file: str) -> str:
    """Return the name of a copied file at its source, which the user knows, for messages."""
    is_file = source.endswith(SUFFIXES)
    return source if is_file else f"{source.rstrip('/')}/{Path(copied_file).name}"


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
    name: str, content: bytes, missing: Sequence[str], text: Collection[str], infer_types: bool
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
        raise DataError(f"{name}: separated by {other[0]!r}; use commas")
    _check_names(name, header)
    return _read_csv(name, decoded, missing, text if infer_types else header)


def _header(name: str, content: str) -> list[str]:
    try:
        # pandas skips blank lines before the header as well.
        return next(row for row in csv.reader(io.StringIO(content)) if row)
    except csv.Error as error:
        raise DataError(f"{name}: the header can't be read: {error}") from None


def _read_csv(
    name: str, content: str, missing: Sequence[str], text: Collection[str]
) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # For rows longer than the header: pandas would use the first column as the index.
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
        raise DataError(f"{name}: the rows have more fields than the header") from None
    except pd.errors.ParserError as error:
        raise DataError(f"{name}: {_one_line(error).split('C error: ')[-1]}") from None


def _parse_parquet(name: str, content: bytes, missing: Sequence[str]) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{name}: not readable as Parquet: {_one_line(error)}") from None
    # A named index is a column: pandas wrote it as the index.
    rows = rows.reset_index(drop=rows.index.names == [None])
    _check_names(name, list(map(str, rows.columns)))
    for column in rows.select_dtypes(["object", "string", "category"]):
        values = rows[column].astype(object)
        is_marker = values.map(lambda value: isinstance(value, str) and value in missing)
        rows[column] = values.mask(is_marker.astype(bool), np.nan)
    return rows


def _check_names(name: str, columns: list[str]) -> None:
    for position, column in enumerate(columns, start=1):
        if not column.strip():
            raise DataError(f"{name}: column {position} has no name")
        if column in columns[: position - 1]:
            first = columns.index(column) + 1
            raise DataError(f"{name}: column {column!r} appears twice, as {first} and {position}")


def _check_same_columns(name: str, part: pd.DataFrame, first: str, other: pd.DataFrame) -> None:
    if missing := sorted(map(str, set(other) - set(part))):
        raise DataError(f"{name}: no column {missing[0]!r}, which {first} has")
    if extra := sorted(map(str, set(part) - set(other))):
        raise DataError(f"{name}: column {extra[0]!r}, which {first} lacks")


def _normalize(column: "pd.Series[Any]", source: str) -> "pd.Series[Any]":
    """Convert a column to one of the four types, or raise a DataError that names it."""
    missing = column.isna()
    if types.is_bool_dtype(column.dtype) and not missing.any():
        return column.astype(bool)
    numeric = types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)
    if numeric and not types.is_bool_dtype(column.dtype):
        return _normalize_numbers(column, missing, source)
    # A column of dtype str holds nothing else, so its values need no check.
    is_str = column.dtype == "str"
    value_types = {str} if is_str else {type(value) for value in column[~missing]}
    if value_types <= {str}:
        return column.where(~missing, np.nan).astype("str")
    names = " and ".join(sorted(value_type.__name__ for value_type in value_types))
    reason = f"{names}; a column must hold numbers or text"
    if value_types <= {bool, np.bool_}:
        # Converted to text or numbers, it would be another column than plain pandas reads.
        reason = "true and false with missing values; use 1 and 0 instead"
    raise DataError(f"{source}: column {column.name!r} holds {reason}")


def _normalize_numbers(
    column: "pd.Series[Any]", missing: "pd.Series[bool]", source: str
) -> "pd.Series[Any]":
    if types.is_integer_dtype(column.dtype) and not missing.any() and column.max() <= 2**63 - 1:
        return column.astype("int64")
    numbers = column.astype("float64")
    if (too_large := numbers.abs() > MAX_NUMBER).any():
        row = int(np.flatnonzero(too_large)[0])
        reason = f"{column.name} is {numbers.iloc[row]}; a number must be finite"
        raise DataError(f"{source}: row {row + 1}: {reason}")
    return numbers


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
