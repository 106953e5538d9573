"""Evaluation metrics."""

from collections.abc import Mapping
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import (
    mean_absolute_percentage_error,
    r2_score,
    root_mean_squared_error,
)

from contract.settings.sections import MetricName

Metrics = Mapping[str, float]
"""A model's metrics on some rows, by name:

- RMSE: root mean squared error, in the label's unit (dollars);
- MAPE: mean absolute percentage error, as a fraction: 0.08 is 8 %;
- R2: coefficient of determination: 1 is perfect, 0 is no better than the mean.
"""

METRICS: tuple[MetricName, ...] = get_args(MetricName)


def eval_metrics(y_true: ArrayLike, y_pred: ArrayLike) -> Metrics:
    """Compare predictions with the true values; return RMSE, MAPE and R2.

    Args:
        y_true: The true values, one per row. At least two: R2 is undefined for one.
        y_pred: The predictions, in the same order and unit.
    """
    true, predicted = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    return {
        "RMSE": float(root_mean_squared_error(true, predicted)),
        "MAPE": float(mean_absolute_percentage_error(true, predicted)),
        "R2": float(r2_score(true, predicted)),
    }


def loss(metrics: Metrics, metric: MetricName) -> float:
    """Return the metric as a loss, for which lower is better: R2 is negated."""
    return -metrics[metric] if metric == "R2" else metrics[metric]
