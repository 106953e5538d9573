"""How good predictions are."""

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
"""The figures of a model on some rows, by name:

- RMSE: root mean squared error, in the label's unit (dollars);
- MAPE: mean absolute percentage error, as a share: 0.08 is 8 %;
- R2: coefficient of determination: 1 is perfect, 0 is no better than the mean.
"""


METRICS: tuple[MetricName, ...] = get_args(MetricName)


def eval_metrics(y_true: ArrayLike, y_pred: ArrayLike) -> Metrics:
    """Compare predictions with the truth, row by row; return RMSE, MAPE and R2.

    Args:
        y_true: The true values, n of them; at least two, or R2 has no meaning.
        y_pred: The predictions, in the same order and unit.
    """
    truth, predicted = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    return {
        "RMSE": float(root_mean_squared_error(truth, predicted)),
        "MAPE": float(mean_absolute_percentage_error(truth, predicted)),
        "R2": float(r2_score(truth, predicted)),
    }


def loss(metrics: Metrics, metric: MetricName) -> float:
    """Return the metric's value such that lower is better: R2 changes its sign."""
    return -metrics[metric] if metric == "R2" else metrics[metric]
