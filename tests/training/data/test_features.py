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
def data_split(ames: Settings) -> Split:
    return split(read_training(ames), ames)


def test_features_do_not_depend_on_validation_rows(
    ames: Settings, folder: Path, settings: Settings
) -> None:
    """The features and models stay the same if the validation rows are replaced by nonsense."""
    file = folder / "train.csv"
    before = split(read_training(settings), settings)
    rows = pd.read_csv(file, keep_default_na=False, dtype=str)
    validation = before.X_val.index
    rows.loc[validation, "LotFrontage"] = "99999"
    rows.loc[validation, "GrLivArea"] = "-5"
    rows.loc[validation, "MSZoning"] = "Moon"
    rows.loc[validation, "MSSubClass"] = "777"
    rows.to_csv(file, index=False)
    after = split(read_training(settings), settings)
    assert (after.X_val["MSZoning"] == "Moon").all()

    features, other = fit_features(before.X_train, settings), fit_features(after.X_train, settings)

    assert list(features.get_feature_names_out()) == list(other.get_feature_names_out())
    matrices = [fitted.transform(before.X_val) for fitted in (features, other)]
    assert_array_equal(*matrices)
    scaler = fit_scaler(features.transform(before.X_train), features)
    other_scaler = fit_scaler(other.transform(after.X_train), other)
    assert_array_equal(scaler.transform(matrices[0]), other_scaler.transform(matrices[0]))
    # The predictions of the models that are fitted on them stay the same, too.
    grids = plan_grids(settings)
    fits = [fit_grids(grids, prepare_data(data, settings), 42) for data in (before, after)]
    for first, second in zip(*fits, strict=True):
        predictions = [
            combination.model.predict(scaler.transform(matrices[0]))
            for combination in (first, second)
        ]
        assert_array_equal(*predictions)


def test_matrix_is_float32_without_missing_values(ames: Settings, data_split: Split) -> None:
    features = fit_features(data_split.X_train, ames)

    matrix = features.transform(data_split.X_val)

    assert matrix.dtype == np.float32
    assert np.isfinite(matrix).all()
    assert matrix.shape == (293, len(features.get_feature_names_out()))


def test_only_numeric_columns_are_scaled(ames: Settings, data_split: Split) -> None:
    features = fit_features(data_split.X_train, ames)
    matrix = features.transform(data_split.X_train)
    numbers = features.output_indices_["numeric"]

    scaled = fit_scaler(matrix, features).transform(matrix)

    assert abs(scaled[:, numbers].mean(axis=0)).max() < 1e-4
    assert abs(scaled[:, numbers].std(axis=0) - 1).max() < 1e-3
    assert_array_equal(scaled[:, numbers.stop :], matrix[:, numbers.stop :])


@pytest.mark.parametrize("missing", [None, np.nan, "NA", ""])
def test_all_missing_text_values_are_encoded_alike(
    ames: Settings, data_split: Split, missing: object
) -> None:
    features = fit_features(data_split.X_train, ames)
    row = data_split.X_val.head(1)
    mode = data_split.X_train["MSZoning"].mode()[0]
    expected = features.transform(row.assign(MSZoning=mode, PoolQC=np.nan))

    cell = pd.Series([missing], index=row.index, dtype=object)

    assert_array_equal(features.transform(row.assign(MSZoning=cell, PoolQC=cell)), expected)


def test_missing_is_a_category_only_in_the_configured_columns(
    ames: Settings, data_split: Split
) -> None:
    names = list(fit_features(data_split.X_train, ames).get_feature_names_out())

    assert "PoolQC_" in names  # a house without a pool
    assert "MasVnrType_" not in names  # an unknown veneer: imputed by the mode
    assert "MSSubClass_20.0" in names  # a code, not a number
    assert "MSSubClass" not in names


def test_unknown_category_is_encoded_as_zeros(ames: Settings, data_split: Split) -> None:
    features = fit_features(data_split.X_train, ames)
    row = data_split.X_val.head(1).assign(MSZoning="Moon", MSSubClass=777)

    encoded = pd.Series(features.transform(row)[0], index=features.get_feature_names_out())

    assert (encoded.filter(regex="^(MSZoning|MSSubClass)_") == 0).all()


def test_row_is_encoded_alike_alone_and_in_a_batch(ames: Settings, data_split: Split) -> None:
    features = fit_features(data_split.X_train, ames)
    together = features.transform(data_split.X_val)

    for position in range(0, len(data_split.X_val), 10):
        alone = features.transform(data_split.X_val.iloc[[position]])
        assert_array_equal(alone[0], together[position])


def test_number_of_donors_is_limited(tmp_path: Path, data_split: Split) -> None:
    few = load_settings(write_settings(tmp_path, features={"max_donors": 50}))

    numeric = fit_features(data_split.X_train, few).named_transformers_["numeric"]

    assert numeric.estimator.named_steps["impute"]._fit_X.shape[0] == 50


def test_sampled_donors_include_a_value_of_every_column(tmp_path: Path) -> None:
    rare = [100.0] + [None] * 199
    X = pd.DataFrame({"a": range(200), "rare": rare}).astype("float64")
    few = load_settings(write_settings(tmp_path, features={"max_donors": 3}))

    matrix = fit_features(X, few).transform(X.tail(5))

    assert (matrix[:, 1] == 100).all()


def test_text_column_without_training_values_is_encoded(settings: Settings) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0], "t": pd.Series([None, None], dtype="str")})
    other = pd.DataFrame({"a": [1.0], "t": pd.Series(["x"], dtype="str")})

    matrix = fit_features(X, settings).transform(other)

    assert np.isfinite(matrix).all()


def test_skops_file_needs_only_the_trusted_types(
    ames: Settings, data_split: Split, tmp_path: Path
) -> None:
    features = fit_features(data_split.X_train, ames)
    skops.io.dump(features, tmp_path / "f.skops")

    assert set(skops.io.get_untrusted_types(file=tmp_path / "f.skops")) == set(TRUSTED_TYPES)


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_table_may_have_columns_of_one_kind_only(kind: str, settings: Settings) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, None, 4.0], "b": [1, 2, 3, 4]})
    X = X if kind == "numbers" else pd.DataFrame({"a": ["x", "y", None, "x"]}, dtype="str")

    features = fit_features(X, settings)
    matrix = features.transform(X)

    assert np.isfinite(fit_scaler(matrix, features).transform(matrix)).all()
