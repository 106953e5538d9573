from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from contract.errors import DataError
from contract.settings.loader import Settings, load_settings
from tests.helpers import write_settings
from training.data.dataset import read_test, read_training, split

Change = Callable[..., Settings]


def test_ames_is_split_by_the_seed_and_without_its_id() -> None:
    settings = load_settings()
    data = read_training(settings)

    first, second = split(data, settings), split(data, settings)

    assert "Id" not in data.X
    assert "SalePrice" not in data.X
    assert data.X.shape == (1465, 79)
    assert (len(first.X_train), len(first.X_val)) == (1172, 293)
    assert_frame_equal(first.X_train, second.X_train)
    assert set(first.X_train.index).isdisjoint(first.X_val.index)
    assert_series_equal(first.y_val, data.y[first.X_val.index])
    assert first.digest == data.digest


def test_another_seed_gives_another_split(change: Change) -> None:
    settings = change(data={"seed": 1})
    other = change(data={"seed": 2})
    data = read_training(settings)

    assert list(split(data, settings).X_val.index) != list(split(data, other).X_val.index)


def test_test_labels_are_joined_by_id(settings: Settings, folder: Path) -> None:
    prices = pd.read_csv(folder / "test_prices.csv")
    prices.sample(frac=1, random_state=0).to_csv(folder / "test_prices.csv", index=False)

    test = read_test(settings, read_training(settings))

    assert test is not None
    ids = pd.read_csv(folder / "test.csv")["Id"]
    assert test.y.tolist() == prices.set_index("Id")["SalePrice"][ids].tolist()


def test_test_table_may_hold_the_label_or_be_absent(change: Change, folder: Path) -> None:
    rows = pd.read_csv(folder / "train.csv", keep_default_na=False)
    rows.tail(20).to_csv(folder / "test.csv", index=False)
    settings = change(data={"test_labels": ""})

    test = read_test(settings, read_training(settings))

    assert test is not None
    assert test.y.tolist() == rows["SalePrice"].tail(20).tolist()
    none = change(data={"test": ""})
    assert read_test(none, read_training(none)) is None


def test_test_digest_covers_rows_and_labels(settings: Settings, folder: Path) -> None:
    training = read_training(settings)
    before = read_test(settings, training)
    _edit(folder, "test_prices.csv", _set("SalePrice", 0, "1"))

    after = read_test(settings, training)

    assert before is not None
    assert after is not None
    assert before.digest != after.digest


def test_numeric_text_in_the_test_table_stays_text(settings: Settings, folder: Path) -> None:
    _edit(folder, "train.csv", lambda rows: rows.assign(Street=["1A", "2"] * 100))
    _edit(folder, "test.csv", lambda rows: rows.assign(Street="2"))

    test = read_test(settings, read_training(settings))

    assert test is not None
    assert test.X["Street"].unique().tolist() == ["2"]


def test_numeric_text_label_is_converted_to_numbers(settings: Settings, folder: Path) -> None:
    rows = pd.read_csv(folder / "train.csv")
    prices = rows["SalePrice"].astype("str")
    rows.assign(SalePrice=prices).to_parquet(folder / "train.parquet")
    settings = load_settings(write_settings(folder, data={"train": "train.parquet"}))

    assert read_training(settings).y.tolist() == rows["SalePrice"].tolist()


def test_columns_can_be_dropped(change: Change) -> None:
    data = read_training(change(data={"drop": ["PoolQC"], "missing_as_category": []}))

    assert "PoolQC" not in data.X


def _edit(folder: Path, file: str, change: Callable[[pd.DataFrame], object]) -> None:
    rows = pd.read_csv(folder / file, keep_default_na=False, dtype=str)
    edited = change(rows)
    result = edited if isinstance(edited, pd.DataFrame) else rows
    result.to_csv(folder / file, index=False)


def _set(column: str, row: int, value: str) -> Callable[[pd.DataFrame], object]:
    def change(rows: pd.DataFrame) -> None:
        rows.loc[row, column] = value

    return change


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("train.csv", _set("SalePrice", 4, "NA"), "train.csv: row 5: SalePrice is missing"),
        (
            "train.csv",
            _set("SalePrice", 4, "lots"),
            "row 5: SalePrice is 'lots', which is not a nu",
        ),
        ("train.csv", _set("Id", 4, "1"), "train.csv: Id 1 is in row 1 and in row 5"),
        ("train.csv", lambda rows: rows.drop(columns="Id"), "no column 'Id' (data.id)"),
        ("train.csv", lambda r: r.drop(columns="SalePrice"), "no column 'SalePrice' (data.label)"),
        (
            "train.csv",
            lambda rows: rows.drop(columns="Fence"),
            "'Fence' (data.missing_as_category)",
        ),
        ("train.csv", lambda r: r.assign(Street="NA"), "column 'Street' has no value in any row"),
        ("train.csv", _set("LotArea", 4, "null"), "row 5: LotArea is 'null' among numbers"),
        ("test.csv", lambda rows: rows.head(1), "a test table needs at least two rows"),
        (
            "train.csv",
            lambda rows: rows.head(1),
            "1 row can't be split with a validation fraction of 0.2",
        ),
        (
            "train.csv",
            _set("MSSubClass", 4, "20.5"),
            "'MSSubClass' (data.categorical) holds fractions",
        ),
        ("test.csv", lambda rows: rows.drop(columns="LotArea"), "no column 'LotArea' (a column of"),
        ("test.csv", _set("LotArea", 0, "big"), "'LotArea' holds text, but numbers in the tr"),
        ("test.csv", _set("Id", 3, "9999"), "no SalePrice for Id 9999 of"),
        ("test_prices.csv", _set("Id", 3, "1466"), "Id 1466 is in row 1 and in row 4"),
        ("test_prices.csv", lambda r: r.drop(columns="SalePrice"), "test_prices.csv: no column"),
    ],
)
def test_invalid_table_is_reported_in_one_line(
    settings: Settings,
    folder: Path,
    file: str,
    edit: Callable[[pd.DataFrame], object],
    message: str,
) -> None:
    _edit(folder, file, edit)

    with pytest.raises(DataError) as caught:
        read_test(settings, read_training(settings))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_text_columns_can_have_a_category_for_missing_values(change: Change) -> None:
    settings = change(data={"missing_as_category": ["GarageYrBlt"]})

    with pytest.raises(
        DataError, match=r"'GarageYrBlt' \(data.missing_as_category\) holds numbers"
    ):
        read_training(settings)
