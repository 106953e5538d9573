"""Ridge: least squares with an L2 penalty."""

import numpy as np
from sklearn.linear_model import Ridge

from training.families.linear import CenteredRows, Floats, LinearFamily, Solver
from training.params import ridge_param_grid


class RidgeFamily(LinearFamily):
    """scikit-learn's Ridge.

    Combinations that differ only in alpha share one eigendecomposition of the rows.
    """

    grid = ridge_param_grid
    estimator = Ridge
    shareable = ("alpha",)

    def solver(self, rows: CenteredRows) -> Solver:
        """Decompose X'X or, if there are more columns than rows, XX', which is smaller.

        w = V (L + alpha)^-1 V' X'y, and w = X' U (L + alpha)^-1 U' y (Hastie, Tibshirani, Friedman:
        The Elements of Statistical Learning, 3.4.1 and 18.3.5).
        """
        X, y = rows.X, rows.y
        tall = X.shape[0] >= X.shape[1]
        # Not scipy's eigh: it holds the GIL, and with it the worker's heartbeat, until it is done.
        values, vectors = np.linalg.eigh(X.T @ X if tall else X @ X.T)
        values = values.clip(min=0)  # negative only by rounding
        target = vectors.T @ (X.T @ y if tall else y)

        def solve(model: Ridge) -> Floats:
            if not (isinstance(model.alpha, int | float) and model.alpha > 0):
                return rows.fit(model)  # least squares, or scikit-learn's message
            weights: Floats = vectors @ (target / (values + model.alpha))
            return weights if tall else X.T @ weights

        return solve
