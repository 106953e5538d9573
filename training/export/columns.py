"""The raw columns as a manifest lists them: type and role, categories, profile."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from contract.release import Column, ColumnProfile, ColumnRole
from training.data.features import CATEGORICAL_ROLES, EMPTY_TEXT
from training.data.tables import COLUMN_TYPES

MOST_FREQUENT = 20
"""The number of values in the profile of a categorical column."""


def describe_columns(
    pipeline: Pipeline, X: pd.DataFrame, required: Collection[str]
) -> list[Column]:
    """Describe the raw columns of a fitted pipeline.

    Args:
        pipeline: The pipeline, whose features have the columns' roles and categories.
        X: The training rows.
        required: The columns without missing values in training.
    """
    steps = pipeline.named_steps["features"].transformers_
    roles = {column: role for role, _, columns in steps for column in columns}
    categories = {
        column: known
        for role, step, columns in steps
        if role in CATEGORICAL_ROLES and columns
        for column, known in zip(columns, _known_categories(step), strict=True)
    }
    return [
        Column(
            name=str(name),
            type=COLUMN_TYPES[str(values.dtype)],
            role=roles[name],
            required=name in required,
            categories=categories.get(name, ()),
            profile=_profile(values, roles[name]),
        )
        for name, values in X.items()
    ]


def _known_categories(step: Pipeline) -> list[tuple[str, ...]]:
    return [
        tuple(
            value if isinstance(value, str) else f"{value:.17g}"
            for value in categories
            if value != EMPTY_TEXT
        )
        for categories in step.named_steps["onehot"].categories_
    ]


def _profile(values: "pd.Series[float]", role: ColumnRole) -> ColumnProfile:
    missing = float(values.isna().mean())
    if role == "numeric":
        numbers = values.dropna().to_numpy(np.float64)
        quantiles = np.quantile(numbers, np.linspace(0, 1, 11)).tolist() if len(numbers) else ()
        return ColumnProfile(missing_fraction=missing, quantiles=tuple(quantiles))
    shares = values.dropna().value_counts(normalize=True).head(MOST_FREQUENT)
    is_numeric = role == "numeric_category"
    texts = [f"{float(value):.17g}" for value in shares.index] if is_numeric else shares.index
    return ColumnProfile(
        missing_fraction=missing,
        frequencies={str(text): float(share) for text, share in zip(texts, shares, strict=True)},
    )
