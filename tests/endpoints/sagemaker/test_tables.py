"""The tables of a training in S3: where they are, what identifies them, and what is uploaded."""

from pathlib import Path

import pytest

from aws.account import AwsAccount
from contract.errors import DataError
from contract.names import BucketPrefix
from contract.settings.loader import Settings, load_settings
from endpoints.sagemaker.table_shape import measure_table
from endpoints.sagemaker.tables import Table, find_tables, upload_table
from tests.endpoints.sagemaker.stage import EmulatedStage
from tests.helpers import write_settings

ROWS = "Id,SalePrice\n1,100\n"


@pytest.fixture
def account(stage: EmulatedStage) -> AwsAccount:
    return AwsAccount(stage.stage)


def _settings(folder: Path, table: str) -> Settings:
    return load_settings(
        write_settings(folder, data={"train": table, "test": "", "test_labels": ""})
    )


def _upload(stage: EmulatedStage, account: AwsAccount, folder: Path, table: Path) -> Table:
    (found,) = find_tables(_settings(folder, str(table)), account, stage.bucket)
    upload_table(found, account)
    return found


def _keys(stage: EmulatedStage, table: Table) -> list[str]:
    prefix = table.uri.removeprefix(f"s3://{stage.bucket}/")
    found = stage.account.client("s3").list_objects_v2(Bucket=stage.bucket, Prefix=prefix)
    return [entry["Key"].removeprefix(prefix) for entry in found["Contents"]]


def test_files_of_a_folder_keep_their_names(
    stage: EmulatedStage, account: AwsAccount, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    table.mkdir()
    (table / "a.csv").write_text(ROWS)
    one = _upload(stage, account, tmp_path, table)
    (table / "b.csv").write_text("Id,SalePrice\n2,200\n")
    two = _upload(stage, account, tmp_path, table)

    assert _keys(stage, one) == ["a.csv"]
    assert _keys(stage, two) == ["a.csv", "b.csv"]


def test_renamed_file_is_not_read_twice(
    stage: EmulatedStage, account: AwsAccount, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    table.mkdir()
    (table / "old.csv").write_text(f"{ROWS}3,300\n")
    before = _upload(stage, account, tmp_path, table)

    (table / "old.csv").rename(table / "new.csv")
    after = _upload(stage, account, tmp_path, table)

    assert before.digest != after.digest
    assert _keys(stage, after) == ["new.csv"]


@pytest.fixture
def in_s3(stage: EmulatedStage, tmp_path: Path) -> str:
    """A folder in S3 with a sibling of a longer name and a folder of its own."""
    s3, prefix = stage.account.client("s3"), f"{BucketPrefix.DATA}{tmp_path.name}"
    names = ("houses/a.csv", "houses/old/b.csv", "houses-2023/c.csv", "houses/notes.txt")
    for name in names:
        s3.put_object(Bucket=stage.bucket, Key=f"{prefix}/{name}", Body=ROWS.encode())
    return f"s3://{stage.bucket}/{prefix}/houses"


@pytest.mark.parametrize("end", ["", "/"])
def test_folder_in_s3_is_the_folder_alone(
    stage: EmulatedStage, account: AwsAccount, tmp_path: Path, in_s3: str, end: str
) -> None:
    (table,) = find_tables(_settings(tmp_path, in_s3 + end), account, stage.bucket)

    assert table.uri == f"{in_s3}/"
    assert list(table.objects) == [f"{in_s3.removeprefix(f's3://{stage.bucket}/')}/a.csv"]


def test_object_in_s3_is_read_as_it_is(
    stage: EmulatedStage, account: AwsAccount, tmp_path: Path, in_s3: str
) -> None:
    (table,) = find_tables(_settings(tmp_path, f"{in_s3}/a.csv"), account, stage.bucket)

    assert table.uri == f"{in_s3}/a.csv"
    assert table.size == len(ROWS)


def test_missing_object_is_reported(
    stage: EmulatedStage, account: AwsAccount, tmp_path: Path, in_s3: str
) -> None:
    with pytest.raises(DataError, match=r"house/: no \.csv or \.parquet object there"):
        find_tables(_settings(tmp_path, in_s3.removesuffix("s")), account, stage.bucket)


def test_long_text_is_counted(stage: EmulatedStage, account: AwsAccount, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f'Id,SalePrice,Text\n1,100,"{"x" * 200_000}"\n')
    (table,) = find_tables(_settings(tmp_path, str(file)), account, stage.bucket)

    assert measure_table(table, account).rows == 1
