"""Feature engineering: from raw rows to the matrix that the families are fitted on.

Everything is fitted on the training rows only, and consists of scikit-learn's own transformers,
each of which has an equivalent in ONNX. Two choices follow from that: numbers are converted to
float32 first (the ONNX imputer takes nothing else, and ties between neighbors must be broken in the
same way), and a missing text value is the empty text.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import check_array

from contract.release import ColumnRole
from contract.settings.loader import Settings
from training.data.tables import is_text_column

Matrix = NDArray[np.float32] | NDArray[np.float64]
"""Rows x encoded columns."""
Vector = NDArray[np.floating]
"""One label or prediction per row."""

TRUSTED_TYPES = ("numpy.dtype", "numpy.zeros_like", "sklearn.utils.validation.check_array")
"""The types that skops must trust to load these features; none of them is code of this project."""

CATEGORICAL_ROLES: tuple[ColumnRole, ...] = (
    "numeric_category",
    "text_category",
    "text_category_with_missing",
)
"""In the order of their columns in the matrix; the columns of the role `numeric` come first."""

WORKING_MEMORY_MB = 64
"""How much memory scikit-learn's distances from rows to donors may take at once.

Its default is 1,024 MB, and it needs several times as much: on a long table that was most of the
memory of a training.
"""

DONOR_RANK = "donor_rank_"
"""Prefix of the name of the column that ranks the donors."""

EMPTY_TEXT = ""
"""A missing value in a text column, after preprocessing."""
NAN_TEXTS = ("nan", "NaN")
"""What NaN becomes if numpy or ONNX converts it to text."""


@dataclass(frozen=True)
class ColumnGroups:
    """The raw columns by their role, which decides how they are preprocessed."""

    numeric: list[str]
    numeric_category: list[str]
    text_category: list[str]
    text_category_with_missing: list[str]
    """Text in which a missing value is a category of its own."""

    @classmethod
    def from_table(cls, X: pd.DataFrame, settings: Settings) -> "ColumnGroups":
        """Group a table's columns by their types and the settings, in their order."""
        names = [str(column) for column in X]
        text = [c for c in names if is_text_column(X[c])]
        codes = [c for c in names if c in settings.data.categorical and c not in text]
        with_missing = [c for c in text if c in settings.data.missing_as_category]
        return cls(
            numeric=[c for c in names if c not in text and c not in codes],
            numeric_category=codes,
            text_category=[c for c in text if c not in with_missing],
            text_category_with_missing=with_missing,
        )


def fit_features(X_train: pd.DataFrame, settings: Settings) -> ColumnTransformer:
    """Fit imputation, modes and categories on the training rows.

    Returns:
        A fitted transformer from raw rows to a float32 matrix: the numbers first, unscaled, then a
        column of 0 and 1 for each category. An unknown category is 0 in all of them.
    """
    columns = ColumnGroups.from_table(X_train, settings)
    to_text = _missing_to_empty_text(settings.data.missing_values)
    steps: dict[ColumnRole, object] = {
        "numeric": _fit_imputer(X_train[columns.numeric], settings),
        "numeric_category": Pipeline([("to_float64", _cast("float64")), *_encode_mode(np.nan)]),
        "text_category": Pipeline([*to_text, *_encode_mode(EMPTY_TEXT)]),
        "text_category_with_missing": Pipeline([*to_text, ("onehot", _onehot())]),
    }
    used = [(role, step, names) for role, step in steps.items() if (names := vars(columns)[role])]
    return ColumnTransformer(used, verbose_feature_names_out=False).fit(X_train)


def limit_working_memory() -> AbstractContextManager[None]:
    """Return a context in which features are computed in chunks of WORKING_MEMORY_MB."""
    context: AbstractContextManager[None] = config_context(working_memory=WORKING_MEMORY_MB)
    return context


def fit_scaler(matrix: Matrix, features: ColumnTransformer) -> ColumnTransformer:
    """Fit a scaler of the numbers, which come first in the matrix; the categories stay 0 and 1.

    For linear families only: rounding at a tree's thresholds changes its predictions.
    """
    numeric = features.output_indices_.get("numeric", slice(0))
    positions = list(range(numeric.stop))
    scaler = ColumnTransformer([("numeric", StandardScaler(), positions)], remainder="passthrough")
    return scaler.fit(matrix)


def _fit_imputer(X: pd.DataFrame, settings: Settings) -> FrozenEstimator:
    """Fit the imputer on the donors only, because each row is compared with each of them.

    scikit-learn's choice among donors at the same distance is unpredictable, and whole numbers are
    often at the same distance. So the imputer gets an additional column, which is 0 in every row
    and a different, almost equal number in each donor. The number is also large enough that a donor
    that has no other number in common with a row counts as an average donor, not as the nearest.
    """
    n_donors = min(settings.features.max_donors, len(X))
    donors = X if n_donors == len(X) else _sample_donors(X, n_donors, settings.data.seed)
    positions = list(range(len(X.columns)))
    zeros = FunctionTransformer(np.zeros_like, feature_names_out="one-to-one")
    # Rounded to float32 first, the type of the released model's inputs; exact from then on.
    add_rank = ColumnTransformer(
        [("", _cast("float32"), positions), (DONOR_RANK, zeros, positions[:1])],
        verbose_feature_names_out="{transformer_name}{feature_name}",
    )
    to_float64 = _cast("float64")
    imputer = KNNImputer(n_neighbors=settings.features.n_neighbors, keep_empty_features=True)
    drop_rank = ColumnTransformer(
        [("", _cast("float32"), positions)], verbose_feature_names_out=False
    )
    if positions:
        rows = to_float64.fit_transform(add_rank.fit_transform(donors))
        rows[:, -1] = _rank_donors(rows[:, :-1])
        drop_rank.fit(imputer.fit_transform(rows))
    steps = {
        "add_rank": add_rank,
        "to_float64": to_float64,
        "impute": imputer,
        "drop_rank": drop_rank,
    }
    return FrozenEstimator(Pipeline(list(steps.items())))


def _rank_donors(donors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number for each donor, the smallest for the one that is closest to the mean.

    The square of each number is the average squared difference between two donors in a column, plus
    at most one millionth of it.
    """
    known = np.ma.masked_invalid(donors)
    squares = (known - known.mean(axis=0)) ** 2
    order = np.argsort(squares.mean(axis=1).filled(np.inf), kind="stable")
    rank = np.empty(len(donors))
    rank[order] = np.arange(len(donors)) / len(donors)
    average = 2 * float(squares.mean()) if squares.count() else 0.0
    return np.sqrt((average or 1.0) * (1 + 1e-6 * rank))


def _sample_donors(X: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Sample donors, and add the first row with a value for each column that has none in them."""
    donors = X.sample(rows, random_state=seed)
    empty = [c for c in X if donors[c].isna().all() and X[c].notna().any()]
    return pd.concat([donors, X.loc[list({X[c].first_valid_index() for c in empty})]])


def _cast(dtype: str) -> FunctionTransformer:
    return FunctionTransformer(
        check_array,
        kw_args={"dtype": dtype, "ensure_all_finite": "allow-nan"},
        feature_names_out="one-to-one",
    )


def _missing_to_empty_text(missing: Sequence[str]) -> list[tuple[str, SimpleImputer]]:
    """Return steps that replace missing values (NaN, None, the settings' texts) by empty text."""
    markers = [np.nan, None, *(text for text in missing if text != EMPTY_TEXT)]
    return [(f"missing_{position}", _replace(marker)) for position, marker in enumerate(markers)]


def _replace(marker: float | str | None) -> SimpleImputer:
    return SimpleImputer(
        missing_values=marker, strategy="constant", fill_value=EMPTY_TEXT, keep_empty_features=True
    )


def _encode_mode(missing: float | str) -> list[tuple[str, object]]:
    mode = SimpleImputer(missing_values=missing, strategy="most_frequent", keep_empty_features=True)
    return [("impute", mode), ("onehot", _onehot())]


def _onehot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
