import hashlib
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from contract.errors import DataError
from contract.paths import PROJECT_ROOT
from training.data.tables import read_table

MISSING = ("NA", "")
AMES = PROJECT_ROOT / "data/train.csv"


def read(source: object) -> pd.DataFrame:
    return read_table(str(source), MISSING).rows


def test_csv_columns_have_the_types_that_pandas_infers() -> None:
    table = read_table(str(AMES), MISSING)

    plain = pd.read_csv(AMES)
    assert_frame_equal(table.rows, plain)
    assert table.rows["LotFrontage"].isna().sum() == 244
    assert table.digest == hashlib.sha256(AMES.read_bytes()).hexdigest()


def test_parquet_and_csv_give_the_same_table(tmp_path: Path) -> None:
    rows = read(AMES)
    rows.to_parquet(tmp_path / "train.parquet")

    assert_frame_equal(read(tmp_path / "train.parquet"), rows)


def test_parquet_types_are_converted_to_the_four_types(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "category": pd.Categorical(["a", "NA", None]),
            "small": np.array([1, 2, 3], dtype="uint8"),
            "half": np.array([1, 2, 3], dtype="float16"),
            "yes": [True, False, True],
        }
    )
    rows.to_parquet(tmp_path / "t.parquet")

    read_back = read(tmp_path / "t.parquet")

    types = {name: str(dtype) for name, dtype in read_back.dtypes.items()}
    assert types == {
        "nullable": "float64",
        "category": "str",
        "small": "int64",
        "half": "float64",
        "yes": "bool",
    }
    assert read_back["category"].isna().tolist() == [False, True, True]


def test_files_of_a_folder_are_concatenated(tmp_path: Path) -> None:
    rows = read(AMES)
    rows.head(1000).to_csv(tmp_path / "1.csv", index=False, na_rep="NA")
    rows.tail(465)[list(rows)[::-1]].to_csv(tmp_path / "2.csv", index=False, na_rep="NA")
    (tmp_path / "README.md").write_text("not a table")

    table = read_table(str(tmp_path), MISSING)

    assert_frame_equal(table.rows, rows)
    assert table.digest == read_table(str(tmp_path), MISSING).digest


def test_types_are_inferred_from_all_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,7\n2,NA\n")
    (tmp_path / "2.csv").write_text("a,b\n3,x\n")
    (tmp_path / "3.csv").write_text("a,b\n")

    rows = read(tmp_path)

    assert {name: str(dtype) for name, dtype in rows.dtypes.items()} == {"a": "int64", "b": "str"}
    assert rows["b"].fillna("-").tolist() == ["7", "-", "x"]


def test_named_index_becomes_a_column(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    rows.set_index("b").to_parquet(tmp_path / "t.parquet")

    assert set(read(tmp_path / "t.parquet")) == {"a", "b"}


def test_files_of_a_folder_must_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")

    with pytest.raises(DataError, match=r"2\.csv: no column 'b', which .*1\.csv has"):
        read(tmp_path)


def test_s3_uri_is_read_like_a_path(bucket: str) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="ames/train.csv", Body=AMES.read_bytes())

    for source in (f"s3://{bucket}/ames/train.csv", f"s3://{bucket}/ames"):
        table = read_table(source, MISSING)
        assert_frame_equal(table.rows, read(AMES))
        assert table.digest == read_table(str(AMES), MISSING).digest


def test_s3_error_is_reported_in_one_line(bucket: str) -> None:
    for source in (f"s3://{bucket}/no.csv", "s3://no-such-bucket/train.csv"):
        with pytest.raises(DataError) as caught:
            read(source)
        assert str(caught.value).startswith(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "the table is empty"),
        (b"a;b\n1;2\n", "separated by ';'; use commas"),
        (b"a\tb\n1\t2\n", "separated by '\\t'"),
        (b"a,b\n1,2\n\xe9,3\n", "line 3: byte 0xe9 is not UTF-8"),
        (b"a,b,a\n1,2,3\n", "column 'a' appears twice, as 1 and 3"),
        (b"a,,c\n1,2,3\n", "column 2 has no name"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (b"a,b\n1,2,3\n1,2,3\n", "the rows have more fields than the header"),
        (b'a,b\n1,"2\n', "EOF inside string"),
        (b"\na,a\n1,2\n", "column 'a' appears twice, as 1 and 2"),
        (b'"a,b\n' + b"1,2\n" * 50_000, "the header can't be read"),
        (b"a,b\nTrue,1\n,2\n", "column 'a' holds true and false with missing values"),
        (b"a,b\n1,2\n3,inf\n", "row 2: b is inf; a number must be finite"),
        (b"a,b\n1,-1e300\n", "row 1: b is -1e+300; a number must be finite"),
    ],
)
def test_malformed_csv_is_reported_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)

    with pytest.raises(DataError) as caught:
        read(file)

    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unsupported_file_or_type_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"x")
    (tmp_path / "t.parquet").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    pd.DataFrame({"many": [[1], [2]]}).to_parquet(tmp_path / "lists.parquet")
    dates = pd.DataFrame({"when": pd.to_datetime(["2026-01-01"])})
    dates.to_parquet(tmp_path / "dates.parquet")
    cases = {
        "none.csv": "no such file",
        "t.xlsx": "must end in .csv or .parquet",
        "t.parquet": "not readable as Parquet",
        "empty": r"no \.csv or \.parquet file in this folder",
        "dates.parquet": "column 'when' holds Timestamp",
        "lists.parquet": "column 'many' holds ndarray",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")

    assert list(read(tmp_path / "t.csv")) == ["a", "b"]
