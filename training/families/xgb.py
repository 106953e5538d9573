"""XGBoost: gradient boosted trees."""

from typing import ClassVar

from xgboost import XGBRegressor

from training.families.base import Family, Regressor
from training.params import Params, xgb_param_grid


class XGBoostFamily(Family):
    """xgboost's XGBRegressor."""

    grid = xgb_param_grid
    scaled: ClassVar[bool] = False
    requirements = ("xgboost-cpu", "xgboost")
    trusted_types = ("xgboost.core.Booster", "xgboost.sklearn.XGBRegressor")

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted XGBRegressor on one thread: more collapse beside another process."""
        model: Regressor = XGBRegressor(**{"random_state": seed, "n_jobs": 1, **params})
        return model
