"""What a manifest says of each raw column: its type and role, its categories, its profile."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from contract.release import Column, ColumnProfile, ColumnRole
from training.data.features import CATEGORICAL_ROLES, EMPTY_TEXT
from training.data.tables import COLUMN_TYPES

MOST_FREQUENT = 20
"""Values whose shares a profile tells."""


def describe_columns(
    pipeline: Pipeline, X: pd.DataFrame, required: Collection[str]
) -> list[Column]:
    """Describe the raw columns of a fitted pipeline.

    Args:
        pipeline: Says how each is treated and which categories it knows.
        X: The training rows.
        required: The columns that never lacked a value.
    """
    steps = pipeline.named_steps["features"].transformers_
    roles = {column: name for name, _, columns in steps for column in columns}
    categories = {
        column: known
        for name, step, columns in steps
        if name in CATEGORICAL_ROLES and columns
        for column, known in zip(columns, _known(step), strict=True)
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


def _known(step: Pipeline) -> list[tuple[str, ...]]:
    learned = step.named_steps["onehot"].categories_
    return [
        tuple(one if isinstance(one, str) else f"{one:.17g}" for one in values if one != EMPTY_TEXT)
        for values in learned
    ]


def _profile(values: "pd.Series[float]", role: ColumnRole) -> ColumnProfile:
    missing = float(values.isna().mean())
    if role == "numeric":
        numbers = values.dropna().to_numpy(np.float64)
        quantiles = np.quantile(numbers, np.linspace(0, 1, 11)).tolist() if len(numbers) else ()
        return ColumnProfile(missing_fraction=missing, quantiles=tuple(quantiles))
    shares = values.dropna().value_counts(normalize=True).head(MOST_FREQUENT)
    is_number = role == "numeric_category"
    texts = [f"{float(one):.17g}" for one in shares.index] if is_number else shares.index
    return ColumnProfile(
        missing_fraction=missing,
        frequencies={str(text): float(share) for text, share in zip(texts, shares, strict=True)},
    )
