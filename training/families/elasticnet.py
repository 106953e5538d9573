"""ElasticNet: least squares with a mix of L1 and L2 penalties."""

from collections.abc import Generator, Sequence

import numpy as np
from sklearn.linear_model import ElasticNet

from training.families.base import Family, Fit, Regressor
from training.features import Matrix, Vector
from training.params import Params, elasticnet_param_grid


class ElasticNetFamily(Family):
    """scikit-learn's ElasticNet."""

    grid = elasticnet_param_grid

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted ElasticNet, with steps enough to converge at a weak penalty."""
        model: Regressor = ElasticNet(**{"random_state": seed, "max_iter": 100_000, **params})
        return model

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Generator[Fit]:
        """Fit in float64, in which coordinate descent can reach its tolerance."""
        yield from super().fit_grid(combinations, X.astype(np.float64), y, seed)
