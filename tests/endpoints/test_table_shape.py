"""The rows and columns of a table, counted or estimated as pandas reads them."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import DataError
from contract.paths import PROJECT_ROOT
from contract.training_job import Channel
from endpoints.sagemaker.parquet_footer import read_shape
from endpoints.sagemaker.sizing import TableShape
from endpoints.sagemaker.table_shape import estimate_rows, measure_table
from endpoints.sagemaker.tables import Table

NO_ACCOUNT: Any = None
"""Files on this machine need none."""
AMES = PROJECT_ROOT / "data/train.csv"
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


def measure(*files: Path) -> TableShape:
    size = sum(file.stat().st_size for file in files)
    table = Table(Channel.TRAIN, files, "s3://bucket/data/", "", size)
    return measure_table(table, NO_ACCOUNT)


def write(folder: Path, content: str) -> Path:
    file = folder / "t.csv"
    file.write_text(content, newline="")
    return file


def test_ames_is_counted() -> None:
    assert measure(AMES) == TableShape(1465, 81)


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",
        "a,b\r\n1,2\r\n3,4\r\n",
        '"a","b"\n1,2\n3,4\n',
        'a,b\n"1\n1",2\n3,"4,\n"\n',
        'a,b\n"say ""x""\n",2\n3,4\n',
        'a,b\n5" pipe,2\n3,4\n',
        '"a\n,a",b\n1,2\n3,4\n',
        '\ufeffa,b\n1,2\n\n"3",4\n\n',
    ],
)
def test_quoted_line_breaks_and_blank_lines_are_no_rows(tmp_path: Path, content: str) -> None:
    assert measure(write(tmp_path, content)) == TableShape(2, 2)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), max_size=5))
def test_rows_that_python_writes_are_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    content = io.StringIO(newline="")
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])

    shape = measure(write(tmp_path_factory.mktemp("table"), content.getvalue()))

    assert shape == TableShape(len(rows), 2)


def test_files_of_a_folder_are_added_up(tmp_path: Path) -> None:
    rows = pd.read_csv(AMES)
    rows.head(1000).to_csv(tmp_path / "1.csv", index=False)
    rows.tail(465).to_parquet(tmp_path / "2.parquet", index=False)

    assert measure(tmp_path / "1.csv", tmp_path / "2.parquet") == TableShape(1465, 81)


@pytest.mark.parametrize("compression", ["snappy", "gzip", None])
@pytest.mark.parametrize("columns", [1, 14, 15, 400])
def test_parquet_footer_has_rows_and_columns(
    tmp_path: Path, compression: Any, columns: int
) -> None:
    rows = pd.DataFrame(np.zeros((300, columns)), columns=[f"c{n}" for n in range(columns)])
    rows = rows.assign(
        text="x",
        flag=True,
        small=np.int8(1),
        when=pd.Timestamp("2026-01-01", tz="UTC"),
        kind=pd.Categorical(["a"] * 300),
    )
    file = tmp_path / "t.parquet"
    rows.to_parquet(file, compression=compression, index=False)

    assert measure(file) == TableShape(300, columns + 5)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", b"\x04\0\0\0PAR1", b"\xff" * 8])
def test_damaged_parquet_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.parquet"
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"t\.parquet: not readable as Parquet: ") as error:
        measure(file)
    assert "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(footer=st.binary(max_size=40))
def test_damaged_footer_is_never_a_defect(footer: bytes) -> None:
    content = footer + len(footer).to_bytes(4, "little") + b"PAR1"
    try:
        rows, columns = read_shape(lambda size: content[-size:])
    except ValueError:
        return
    assert isinstance(rows, int)
    assert isinstance(columns, int)


@pytest.mark.parametrize("content", ["", "\n\n", '"' + "x" * 10_000_001])
def test_file_that_is_no_table_is_reported_in_one_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv: ") as error:
        measure(write(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sample_bytes", [50_000, 200_000])
def test_rows_are_estimated_from_the_first_bytes(sample_bytes: int) -> None:
    content = AMES.read_bytes()

    shape = estimate_rows("t.csv", content[:sample_bytes], len(content))

    assert shape.rows == pytest.approx(1465, rel=0.03)
    assert (shape.columns, shape.is_exact) == (81, False)
    assert estimate_rows("t.csv", content, len(content)) == TableShape(1465, 81)
