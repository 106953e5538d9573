"""ElasticNet: least squares with a mix of L1 and L2 penalties."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import ElasticNet

from training.data.features import Matrix, Vector
from training.families.active_set import ActiveSetSolver
from training.families.base import Family, Fit, Regressor
from training.families.linear import CenteredRows, group_by_intercept, linear_to_onnx, part
from training.params import Params, elasticnet_param_grid

if TYPE_CHECKING:
    from onnx import ModelProto

SHAREABLE = {"alpha", "l1_ratio", "max_iter", "random_state", "selection", "tol"}


class ElasticNetFamily(Family):
    """scikit-learn's ElasticNet.

    Combinations share the centred rows and their products. Each starts scikit-learn's descent at
    the minimum itself, where it ends at once, and not where another one ended: it depends on none.
    """

    grid = elasticnet_param_grid

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted ElasticNet, with steps enough to converge at a weak penalty."""
        model: Regressor = _elasticnet(params, seed)
        return model

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Return a fitted ElasticNet as an ONNX graph."""
        return linear_to_onnx(model, columns)

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Prepare the rows once with and once without an intercept."""
        shared, others = part(combinations, SHAREABLE)
        for intercept, group in group_by_intercept(shared):
            start = time.perf_counter()
            rows = CenteredRows.of(X, y, intercept)
            minimum = ActiveSetSolver(rows)
            gram = minimum.products if minimum.tall else False
            share = (time.perf_counter() - start) / len(group)
            for params in group:
                start = time.perf_counter()
                model = _elasticnet(params, seed)
                own = model.get_params()
                penalties = _penalties(own, len(y))
                coefficients = minimum.find(*penalties) if penalties else None
                if coefficients is not None:
                    model.set_params(warm_start=True).coef_ = coefficients
                model.set_params(fit_intercept=False, precompute=gram).fit(rows.X, rows.y)
                model.set_params(**own)
                rows.give(model, model.coef_)
                yield Fit(params, model, share + time.perf_counter() - start)
        if others:
            yield from super().fit_grid(others, X.astype(np.float64), y, seed)


def _elasticnet(params: Params, seed: int) -> ElasticNet:
    return ElasticNet(**{"random_state": seed, "max_iter": 100_000, **params})


def _penalties(params: Mapping[str, object], rows: int) -> tuple[float, float] | None:
    """Return the L1 and the L2 penalty of the sum of squares; None where they are unusual."""
    alpha, ratio = params["alpha"], params["l1_ratio"]
    if not (isinstance(alpha, int | float) and isinstance(ratio, int | float)):
        return None
    usual = alpha > 0 and 0 <= ratio < 1
    return (rows * alpha * ratio, rows * alpha * (1 - ratio)) if usual else None
