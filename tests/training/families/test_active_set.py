"""The solution satisfies the optimality conditions, which only the minimum does."""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from training.families.active_set import ActiveSetSolver
from training.families.elasticnet import ElasticNetFamily
from training.families.linear import CenteredRows


def _rows(shape: tuple[int, int], correlated: bool = False) -> CenteredRows:
    random = np.random.default_rng(1)
    X = random.standard_normal(shape)
    if correlated:
        X[:, 1] = X[:, 0]
        X[:, 2] = 0
        X[:, 3:] += X[:, [0]]
    y = X @ random.choice([0, 1, -5], shape[1]) + random.standard_normal(shape[0])
    return CenteredRows.from_rows(X, y, intercept=True)


@pytest.mark.parametrize("l1", [0, 1, 10, 1e9])
@pytest.mark.parametrize("l2", [1, 10, 1e9])
@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("shape", [(150, 20), (40, 120)])
def test_optimality_conditions_hold(
    shape: tuple[int, int], correlated: bool, l2: float, l1: float
) -> None:
    rows = _rows(shape, correlated)

    w = ActiveSetSolver(rows).solve(l1, l2)

    assert w is not None
    gradient = rows.X.T @ (rows.y - rows.X @ w) - l2 * w
    rounding = 1e-9 * np.abs(rows.X.T @ rows.y).max()
    assert gradient[w != 0] == pytest.approx(l1 * np.sign(w[w != 0]), abs=rounding)
    assert (np.abs(gradient[w == 0]) <= l1 + rounding).all()


def test_coordinate_descent_solves_what_the_active_set_solver_cannot() -> None:
    rows = _rows((40, 120), correlated=True)
    assert ActiveSetSolver(rows).solve(100, 0.01) is None

    params = {"alpha": 100.01 / 40, "l1_ratio": 100 / 100.01, "fit_intercept": False}
    (fit,) = ElasticNetFamily().fit_grid([params], rows.X, rows.y, seed=1)

    alone = ElasticNet(**params, max_iter=100_000).fit(rows.X, rows.y)
    assert fit.model.predict(rows.X) == pytest.approx(alone.predict(rows.X), rel=1e-6)
