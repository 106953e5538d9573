"""Ridge: least squares with an L2 penalty."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.linear_model import Ridge

from training.data.features import Matrix, Vector
from training.families.base import Family, Fit, Regressor
from training.families.linear import CenteredRows, group_by_intercept, linear_to_onnx, part
from training.params import Params, ridge_param_grid

if TYPE_CHECKING:
    from onnx import ModelProto

SHAREABLE = {"alpha"}


class RidgeFamily(Family):
    """scikit-learn's Ridge.

    Combinations that differ in alpha alone share one decomposition of the rows.
    """

    grid = ridge_param_grid

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted Ridge."""
        model: Regressor = Ridge(**{"random_state": seed, **params})
        return model

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Return a fitted Ridge as an ONNX graph."""
        return linear_to_onnx(model, columns)

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Decompose the rows once with and once without an intercept."""
        usual = [one for one in combinations if _alpha(one) > 0]
        shared, others = part(usual, SHAREABLE)
        others += [one for one in combinations if one not in usual]
        for intercept, group in group_by_intercept(shared):
            start = time.perf_counter()
            rows = CenteredRows.of(X, y, intercept)
            solve = _decompose(rows)
            share = (time.perf_counter() - start) / len(group)
            for params in group:
                start = time.perf_counter()
                model = self.model(params, seed)
                rows.give(model, solve(_alpha(params)))
                yield Fit(params, model, share + time.perf_counter() - start)
        if others:
            yield from super().fit_grid(others, X.astype(np.float64), y, seed)


def _decompose(rows: CenteredRows) -> Callable[[float], NDArray[np.float64]]:
    """Return what gives the coefficients for an alpha.

    By the eigenvectors of X'X or, where there are more columns than rows, of XX', which is smaller:
    w = V (L + alpha)^-1 V' X'y, and w = X' U (L + alpha)^-1 U' y (Hastie, Tibshirani, Friedman:
    The Elements of Statistical Learning, 3.4.1 and 18.3.5).
    """
    X, y = rows.X, rows.y
    tall = X.shape[0] >= X.shape[1]
    values, vectors = eigh(X.T @ X if tall else X @ X.T)
    values = values.clip(min=0)  # below zero by rounding alone
    target = vectors.T @ (X.T @ y if tall else y)

    def solve(alpha: float) -> NDArray[np.float64]:
        weights = vectors @ (target / (values + alpha))
        coefficients: NDArray[np.float64] = weights if tall else X.T @ weights
        return coefficients

    return solve


def _alpha(params: Params) -> float:
    """Return the penalty, 1 being scikit-learn's default; 0 where it is no number."""
    alpha = params.get("alpha", 1.0)
    return alpha if isinstance(alpha, int | float) else 0.0
