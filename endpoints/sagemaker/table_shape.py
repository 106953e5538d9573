"""The rows and columns of a table: counted on this machine, estimated in S3 from a part of it."""

import csv
import io
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from aws.account import AwsAccount
from aws.retries import call_with_retries
from contract.errors import DataError
from endpoints.sagemaker.parquet_footer import read_shape
from endpoints.sagemaker.sizing import TableShape
from endpoints.sagemaker.tables import Table, split_uri

SAMPLE_BYTES = 1_000_000
"""How much of a CSV file in S3 is read to estimate its rows."""
CHUNK_BYTES = 1 << 20
MAX_TEXT_LENGTH = 10_000_000
"""The longest text of a CSV file, in characters: a longer one is a quote that was never closed."""


def measure_table(table: Table, account: AwsAccount) -> TableShape:
    """Return the size of a table; neither it nor anything else is changed.

    Files on this machine are counted. Of a table in S3, the largest object is representative: a
    Parquet file has its numbers in its footer, and of a CSV file the first SAMPLE_BYTES are read.

    Raises:
        DataError: A file is not a table.
        InfraError: AWS refuses a request.
    """
    if table.files:
        shapes = [_count(file) for file in table.files]
        return TableShape(sum(shape.rows for shape in shapes), shapes[0].columns)
    return _estimate(table, account)


def _count(file: Path) -> TableShape:
    try:
        if file.suffix == ".parquet":
            with file.open("rb") as content:
                return _read_footer(str(file), lambda size: _read_end(content, size))
        if not _has_quotes(file):
            return _count_lines(file)
        with file.open(encoding="utf-8", errors="replace", newline="") as text:
            return _count_rows(str(file), text)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None


def _estimate(table: Table, account: AwsAccount) -> TableShape:
    """Extrapolate from the largest object to all."""
    bucket, _ = split_uri(table.uri)
    key, size = max(table.objects.items(), key=lambda entry: entry[1])
    uri = f"s3://{bucket}/{key}"
    if not size:
        raise DataError(f"{uri}: the file is empty")

    def read(byte_range: str) -> bytes:
        def get() -> bytes:
            s3 = account.client("s3")
            response = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={byte_range}")
            return bytes(response["Body"].read())

        return call_with_retries(account, uri, get)

    if key.endswith(".parquet"):
        shape = _read_footer(uri, lambda size: read(f"-{size}"))
    else:
        shape = estimate_rows(uri, read(f"0-{SAMPLE_BYTES - 1}"), size)
    if len(table.objects) == 1:
        return shape
    return TableShape(round(shape.rows * table.size / size), shape.columns, is_exact=False)


def estimate_rows(name: str, sample: bytes, size: int) -> TableShape:
    """Return the size of a CSV file by its first bytes.

    Args:
        name: The file, for messages.
        sample: Its first bytes.
        size: All of its bytes.

    Raises:
        DataError: The sample is not CSV.
    """
    text = sample.decode("utf-8", errors="replace")
    shape = _count_rows(name, io.StringIO(text, newline=""))
    if len(sample) == size:
        return shape
    rows = max(shape.rows - 1, 1)  # the last one is cut off
    header = len(text.partition("\n")[0].encode())
    rows_of_all = rows * (size - header) / (len(sample) - header or 1)
    return TableShape(round(rows_of_all), shape.columns, is_exact=False)


def _count_rows(name: str, lines: Iterable[str]) -> TableShape:
    """Parse CSV, in which a quoted value may contain line breaks; blank lines are no rows."""
    rows = (row for row in csv.reader(lines) if row)
    limit = csv.field_size_limit(MAX_TEXT_LENGTH)
    try:
        columns = len(next(rows, []))
        count = sum(1 for _ in rows)
    except csv.Error as error:
        raise DataError(f"{name}: can't be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if not columns:
        raise DataError(f"{name}: the file is empty")
    return TableShape(count, columns)


def _has_quotes(file: Path) -> bool:
    with file.open("rb") as content:
        return any(b'"' in chunk for chunk in iter(partial(content.read, CHUNK_BYTES), b""))


def _count_lines(file: Path) -> TableShape:
    """Count the lines of CSV without quotes, which is faster than parsing it."""
    with file.open("rb") as content:
        header = next((line for line in content if line.strip()), b"")
        lines, last = 0, b"\n"
        for chunk in iter(partial(content.read, CHUNK_BYTES), b""):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    if not header:
        raise DataError(f"{file}: the file is empty")
    return TableShape(lines + (last != b"\n"), header.count(b",") + 1)


def _read_footer(name: str, read_end: Callable[[int], bytes]) -> TableShape:
    try:
        return TableShape(*read_shape(read_end))
    except ValueError as error:
        raise DataError(f"{name}: not readable as Parquet: {error}") from None


def _read_end(content: BinaryIO, size: int) -> bytes:
    length = content.seek(0, io.SEEK_END)
    content.seek(max(length - size, 0))
    return content.read()
