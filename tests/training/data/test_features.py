from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.testing import assert_array_equal

from contract.settings.loader import Settings, load_settings
from tests.helpers import write_settings
from training.data.dataset import Split, read_training, split
from training.data.features import TRUSTED_TYPES, fit_features, fit_scaler
from training.search.grid import fit_grids, plan_grids, prepare_data


@pytest.fixture(scope="module")
def ames() -> Settings:
    return load_settings()


@pytest.fixture(scope="module")
def parts(ames: Settings) -> Split:
    return split(read_training(ames), ames)


def test_validation_rows_cannot_leak_in(ames: Settings, folder: Path, settings: Settings) -> None:
    """The validation rows are replaced by nonsense, and what is learned stays the same."""
    file = folder / "train.csv"
    before = split(read_training(settings), settings)
    rows = pd.read_csv(file, keep_default_na=False, dtype=str)
    judges = before.X_val.index
    rows.loc[judges, "LotFrontage"] = "99999"
    rows.loc[judges, "GrLivArea"] = "-5"
    rows.loc[judges, "MSZoning"] = "Moon"
    rows.loc[judges, "MSSubClass"] = "777"
    rows.to_csv(file, index=False)
    after = split(read_training(settings), settings)
    assert (after.X_val["MSZoning"] == "Moon").all()

    one, other = fit_features(before.X_train, settings), fit_features(after.X_train, settings)

    assert list(one.get_feature_names_out()) == list(other.get_feature_names_out())
    matrices = [features.transform(before.X_val) for features in (one, other)]
    assert_array_equal(*matrices)
    scaler = fit_scaler(one.transform(before.X_train), one)
    other_scaler = fit_scaler(other.transform(after.X_train), other)
    assert_array_equal(scaler.transform(matrices[0]), other_scaler.transform(matrices[0]))
    # And through the engine, to the predictions of the models that come out of it.
    grids = plan_grids(settings)
    engines = [fit_grids(grids, prepare_data(parts, settings), 42) for parts in (before, after)]
    for first, second in zip(*engines, strict=True):
        predictions = [one.model.predict(scaler.transform(matrices[0])) for one in (first, second)]
        assert_array_equal(*predictions)


def test_the_matrix_is_float32_and_whole(ames: Settings, parts: Split) -> None:
    features = fit_features(parts.X_train, ames)

    matrix = features.transform(parts.X_val)

    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    assert matrix.shape == (293, len(features.get_feature_names_out()))


def test_numbers_are_scaled_apart_and_categories_never(ames: Settings, parts: Split) -> None:
    features = fit_features(parts.X_train, ames)
    matrix = features.transform(parts.X_train)
    numbers = features.output_indices_["numbers"]

    scaled = fit_scaler(matrix, features).transform(matrix)

    assert abs(scaled[:, numbers].mean(axis=0)).max() < 1e-4
    assert abs(scaled[:, numbers].std(axis=0) - 1).max() < 1e-3
    assert_array_equal(scaled[:, numbers.stop :], matrix[:, numbers.stop :])


@pytest.mark.parametrize("blank", [None, np.nan, "NA", ""])
def test_every_way_to_write_missing_text_is_the_same(
    ames: Settings, parts: Split, blank: object
) -> None:
    features = fit_features(parts.X_train, ames)
    row = parts.X_val.head(1)
    mode = parts.X_train["MSZoning"].mode()[0]
    expected = features.transform(row.assign(MSZoning=mode, PoolQC=np.nan))

    cell = pd.Series([blank], index=row.index, dtype=object)

    assert_array_equal(features.transform(row.assign(MSZoning=cell, PoolQC=cell)), expected)


def test_none_is_a_category_where_the_settings_say_so(ames: Settings, parts: Split) -> None:
    names = list(fit_features(parts.X_train, ames).get_feature_names_out())

    assert "PoolQC_" in names  # a house without a pool
    assert "MasVnrType_" not in names  # an unknown veneer: the most frequent one stands in
    assert "MSSubClass_20.0" in names  # a code, not a number
    assert "MSSubClass" not in names


def test_an_unknown_category_is_none_of_the_known(ames: Settings, parts: Split) -> None:
    features = fit_features(parts.X_train, ames)
    row = parts.X_val.head(1).assign(MSZoning="Moon", MSSubClass=777)

    encoded = pd.Series(features.transform(row)[0], index=features.get_feature_names_out())

    assert (encoded.filter(regex="^(MSZoning|MSSubClass)_") == 0).all()


def test_a_row_is_the_same_alone_and_among_others(ames: Settings, parts: Split) -> None:
    features = fit_features(parts.X_train, ames)
    together = features.transform(parts.X_val)

    for position in range(0, len(parts.X_val), 10):
        alone = features.transform(parts.X_val.iloc[[position]])
        assert_array_equal(alone[0], together[position])


def test_donors_are_capped(tmp_path: Path, parts: Split) -> None:
    few = load_settings(write_settings(tmp_path, features={"max_donors": 50}))

    numbers = fit_features(parts.X_train, few).named_transformers_["numbers"]

    assert numbers.estimator.named_steps["impute"]._fit_X.shape[0] == 50


def test_a_rare_number_has_a_donor_however_few_there_are(tmp_path: Path) -> None:
    rare = [100.0] + [None] * 199
    X = pd.DataFrame({"a": range(200), "rare": rare}).astype("float64")
    few = load_settings(write_settings(tmp_path, features={"max_donors": 3}))

    matrix = fit_features(X, few).transform(X.tail(5))

    assert (matrix[:, 1] == 100).all()


def test_text_without_a_value_in_the_training_rows_is_no_error(settings: Settings) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0], "t": pd.Series([None, None], dtype="str")})
    other = pd.DataFrame({"a": [1.0], "t": pd.Series(["x"], dtype="str")})

    matrix = fit_features(X, settings).transform(other)

    assert np.isfinite(matrix).all()


def test_features_are_saved_without_code_of_ours(
    ames: Settings, parts: Split, tmp_path: Path
) -> None:
    features = fit_features(parts.X_train, ames)
    skops.io.dump(features, tmp_path / "f.skops")

    assert set(skops.io.get_untrusted_types(file=tmp_path / "f.skops")) == set(TRUSTED_TYPES)


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_a_table_may_have_one_kind_of_column_alone(kind: str, settings: Settings) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, None, 4.0], "b": [1, 2, 3, 4]})
    X = X if kind == "numbers" else pd.DataFrame({"a": ["x", "y", None, "x"]}, dtype="str")

    features = fit_features(X, settings)
    matrix = features.transform(X)

    assert np.isfinite(fit_scaler(matrix, features).transform(matrix)).all()
