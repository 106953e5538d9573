"""Ridge: least squares with an L2 penalty."""

from collections.abc import Generator, Sequence

import numpy as np
from sklearn.linear_model import Ridge

from training.families.base import Family, Fit, Regressor
from training.features import Matrix, Vector
from training.params import Params, ridge_param_grid


class RidgeFamily(Family):
    """scikit-learn's Ridge."""

    grid = ridge_param_grid

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted Ridge."""
        model: Regressor = Ridge(**{"random_state": seed, **params})
        return model

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Generator[Fit]:
        """Fit in float64: in float32 the normal equations lose half of the digits."""
        yield from super().fit_grid(combinations, X.astype(np.float64), y, seed)
