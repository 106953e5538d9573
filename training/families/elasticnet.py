"""ElasticNet: least squares with a mix of L1 and L2 penalties."""

from sklearn.linear_model import ElasticNet

from training.families.active_set import ActiveSetSolver
from training.families.linear import CenteredRows, Floats, LinearFamily, Solver
from training.params import elasticnet_param_grid


class ElasticNetFamily(LinearFamily):
    """scikit-learn's ElasticNet.

    Combinations share the centered rows and their Gram matrix. Each starts scikit-learn's
    coordinate descent at the exact minimum, where it stops at once. It doesn't start at another
    combination's minimum, so it depends on none.
    """

    grid = elasticnet_param_grid
    estimator = ElasticNet
    defaults = {"max_iter": 100_000}  # noqa: RUF012 - enough to converge at a weak penalty
    shareable = ("alpha", "l1_ratio", "max_iter", "random_state", "selection", "tol")

    def solver(self, rows: CenteredRows) -> Solver:
        """Compute the Gram matrix, for the exact solver and for coordinate descent."""
        exact = ActiveSetSolver(rows)
        gram = exact.products if exact.tall else False

        def solve(model: ElasticNet) -> Floats:
            penalties = _penalties(model, len(rows.y))
            minimum = exact.solve(*penalties) if penalties else None
            if minimum is not None:
                model.coef_ = minimum
            # Without an intercept the fit doesn't change the rows: a copy would only take memory.
            shared = {"precompute": gram, "copy_X": False}
            return rows.fit(model, **shared, warm_start=minimum is not None)

        return solve


def _penalties(model: ElasticNet, rows: int) -> tuple[float, float] | None:
    """Return the L1 and L2 penalties of the sum of squares; None if the solver can't use them."""
    alpha, ratio = model.alpha, model.l1_ratio
    if not (isinstance(alpha, int | float) and isinstance(ratio, int | float)):
        return None
    supported = alpha > 0 and 0 <= ratio < 1
    return (rows * alpha * ratio, rows * alpha * (1 - ratio)) if supported else None
