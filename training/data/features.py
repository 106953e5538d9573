"""From raw rows to the matrix that the families learn from.

Everything is learned from the rows that are given to `fit_features`, which are the training rows,
and is made of scikit-learn's own parts, each of which has a counterpart in ONNX. Two choices follow
from that: numbers become float32 first of all (the imputer's counterpart takes nothing else, and
neighbours' ties must fall the same way), and in text a missing value is the empty text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import check_array

from contract.settings.loader import Settings
from training.data.tables import is_text_column

Matrix = NDArray[np.float32] | NDArray[np.float64]
"""Rows x encoded columns."""
Vector = NDArray[np.floating]
"""A label or a prediction a row."""

TRUSTED_TYPES = ("numpy.dtype", "numpy.zeros_like", "sklearn.utils.validation.check_array")
"""What skops must be told to trust when it loads these features: names, no code of ours."""

RANK = "rank by "
"""What the name of the column begins with that ranks the donors."""

EMPTY_TEXT = ""
"""A missing value in a text column, once it has been read."""
NAN_TEXTS = ("nan", "NaN")
"""What it becomes where numpy or ONNX writes NaN as text."""


@dataclass(frozen=True)
class ColumnGroups:
    """The raw columns by how they are treated."""

    numbers: list[str]
    codes: list[str]
    text: list[str]
    optional_text: list[str]
    """Text in which a missing value is a category of its own."""

    @classmethod
    def of(cls, X: pd.DataFrame, settings: Settings) -> "ColumnGroups":
        """Sort a table's columns by type and settings, keeping their order."""
        names = [str(column) for column in X]
        text = [c for c in names if is_text_column(X[c])]
        codes = [c for c in names if c in settings.data.categorical and c not in text]
        optional = [c for c in text if c in settings.data.missing_as_category]
        return cls(
            numbers=[c for c in names if c not in text and c not in codes],
            codes=codes,
            text=[c for c in text if c not in optional],
            optional_text=optional,
        )


def fit_features(X_train: pd.DataFrame, settings: Settings) -> ColumnTransformer:
    """Learn imputation, modes and categories from the training rows.

    Returns:
        A fitted transformer from raw rows to a float32 matrix: the numbers first, as they are, then
        a column of 0 and 1 for each category. A category that it doesn't know is 0 in all of them.
    """
    columns = ColumnGroups.of(X_train, settings)
    missing = settings.data.missing_values
    steps = [
        ("numbers", _numbers(X_train[columns.numbers], settings), columns.numbers),
        ("codes", Pipeline([("read", _as("float64")), *_modes(np.nan)]), columns.codes),
        ("text", Pipeline([*_blanks(missing), *_modes(EMPTY_TEXT)]), columns.text),
        ("optional", Pipeline([*_blanks(missing), ("onehot", _onehot())]), columns.optional_text),
    ]
    transformer = ColumnTransformer(
        [step for step in steps if step[2]], verbose_feature_names_out=False
    )
    return transformer.fit(X_train)


def fit_scaler(matrix: Matrix, features: ColumnTransformer) -> ColumnTransformer:
    """Learn to scale the numbers, which come first in the matrix; the categories stay 0 and 1.

    For linear families alone: rounding at a tree's thresholds changes its answers.
    """
    numbers = features.output_indices_.get("numbers", slice(0))
    positions = list(range(numbers.stop))
    scaler = ColumnTransformer([("numbers", StandardScaler(), positions)], remainder="passthrough")
    return scaler.fit(matrix)


def _numbers(X: pd.DataFrame, settings: Settings) -> FrozenEstimator:
    """Fit the imputer on the donors alone: each row is compared with each of them.

    Among donors at the same distance scikit-learn's choice is nobody's to foresee, and whole
    numbers are at the same distance often. So the imputer sees one more column, which is 0 in every
    row and in each donor another, almost the same number. It is large enough, too, that a donor
    with whom a row shares no other number counts as an average one, not as the nearest.
    """
    donors = min(settings.features.max_donors, len(X))
    chosen = X if donors == len(X) else _sample(X, donors, settings.data.seed)
    every = list(range(len(X.columns)))
    # Rounded to float32 first of all, as the released model takes numbers; then exact.
    parts = [("", _as("float32"), every), (RANK, FunctionTransformer(np.zeros_like), every[:1])]
    parts[1][1].set_params(feature_names_out="one-to-one")
    read = ColumnTransformer(parts, verbose_feature_names_out="{transformer_name}{feature_name}")
    widen = _as("float64")
    narrow = ColumnTransformer([("", _as("float32"), every)], verbose_feature_names_out=False)
    imputer = KNNImputer(n_neighbors=settings.features.n_neighbors, keep_empty_features=True)
    steps = [("read", read), ("widen", widen), ("impute", imputer), ("narrow", narrow)]
    if every:
        rows = widen.fit_transform(read.fit_transform(chosen))
        rows[:, -1] = _ranks(rows[:, :-1])
        narrow.fit(imputer.fit_transform(rows))
    return FrozenEstimator(Pipeline(steps))


def _ranks(donors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number for each donor, the smallest for the one that is nearest to the middle.

    Their squares are what two donors differ by in a column on average, and differ among each other
    by a millionth of that at most.
    """
    known = np.ma.masked_invalid(donors)
    apart = (known - known.mean(axis=0)) ** 2
    order = np.argsort(apart.mean(axis=1).filled(np.inf), kind="stable")
    share = np.empty(len(donors))
    share[order] = np.arange(len(donors)) / len(donors)
    typical = 2 * float(apart.mean()) if apart.count() else 0.0
    return np.sqrt((typical or 1.0) * (1 + 1e-6 * share))


def _sample(X: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Draw donors; a column that none of them has a value in gets the first row that has one."""
    chosen = X.sample(rows, random_state=seed)
    lacking = [c for c in X if chosen[c].isna().all() and X[c].notna().any()]
    return pd.concat([chosen, X.loc[list({X[c].first_valid_index() for c in lacking})]])


def _as(dtype: str) -> FunctionTransformer:
    return FunctionTransformer(
        check_array,
        kw_args={"dtype": dtype, "ensure_all_finite": "allow-nan"},
        feature_names_out="one-to-one",
    )


def _blanks(missing: Sequence[str]) -> list[tuple[str, SimpleImputer]]:
    """Turn whatever says 'missing' into the empty text: NaN, None (JSON), the markers."""
    markers = [np.nan, None, *(text for text in missing if text != EMPTY_TEXT)]
    return [(f"blank_{position}", _blank(marker)) for position, marker in enumerate(markers)]


def _blank(marker: float | str | None) -> SimpleImputer:
    return SimpleImputer(
        missing_values=marker, strategy="constant", fill_value=EMPTY_TEXT, keep_empty_features=True
    )


def _modes(missing: float | str) -> list[tuple[str, object]]:
    mode = SimpleImputer(missing_values=missing, strategy="most_frequent", keep_empty_features=True)
    return [("impute", mode), ("onehot", _onehot())]


def _onehot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
