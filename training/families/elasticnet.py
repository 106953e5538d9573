"""ElasticNet: least squares with a mix of L1 and L2 penalties."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.linear_model import ElasticNet

from training.families.base import Family, Fit, Regressor
from training.families.linear import Centred, by_intercept, part
from training.features import Matrix, Vector
from training.params import Params, elasticnet_param_grid

SHAREABLE = {"alpha", "l1_ratio", "max_iter", "positive", "random_state", "selection", "tol"}


class ElasticNetFamily(Family):
    """scikit-learn's ElasticNet.

    Combinations share the centred rows and, where there are more rows than columns, their Gram
    matrix: a step of the descent then costs columns x columns instead of rows x columns. Each
    starts from zero and not where another ended, so that it depends on none of them.
    """

    grid = elasticnet_param_grid

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted ElasticNet, with steps enough to converge at a weak penalty."""
        model: Regressor = _elasticnet(params, seed)
        return model

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Prepare the rows once with and once without an intercept."""
        shared, others = part(combinations, SHAREABLE)
        for intercept, group in by_intercept(shared):
            start = time.perf_counter()
            rows = Centred.of(X, y, intercept)
            tall = X.shape[0] > X.shape[1]
            gram = rows.X.T @ rows.X if tall else False
            share = (time.perf_counter() - start) / len(group)
            for params in group:
                start = time.perf_counter()
                model = _elasticnet(params, seed)
                own = model.get_params()
                model.set_params(fit_intercept=False, precompute=gram).fit(rows.X, rows.y)
                model.set_params(**own)
                rows.give(model, model.coef_)
                yield Fit(params, model, share + time.perf_counter() - start)
        if others:
            yield from super().fit_grid(others, X.astype(np.float64), y, seed)


def _elasticnet(params: Params, seed: int) -> ElasticNet:
    return ElasticNet(**{"random_state": seed, "max_iter": 100_000, **params})
