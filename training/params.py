"""The hyperparameter grids, and their expansion into combinations.

These are the defaults; `[grids.<family>]` in settings.toml overrides or extends them.
"""

from collections.abc import Mapping

from sklearn.model_selection import ParameterGrid

from contract.errors import FamilyError
from contract.settings.sections import ParamGrid, ParamValue

Params = Mapping[str, ParamValue]
"""One combination: a value for each hyperparameter of the grid."""

ridge_param_grid: ParamGrid = {
    "alpha": (0.1, 1, 10),
    "fit_intercept": (True, False),
}

elasticnet_param_grid: ParamGrid = {
    "alpha": (0.1, 1, 10),
    "l1_ratio": (0.2, 0.5, 0.8),
    "fit_intercept": (True, False),
}

xgb_param_grid: ParamGrid = {
    "n_estimators": (100, 300, 500),
    "learning_rate": (0.01, 0.05, 0.1),
    "max_depth": (3, 5, 7),
    "subsample": (0.8, 1.0),
}


def combinations(family: str, grid: ParamGrid, overrides: ParamGrid) -> list[Params]:
    """Return every combination of a family's grid, in a fixed order.

    Args:
        family: The family's name, for error messages.
        grid: The family's default grid.
        overrides: Values that replace those of a parameter, or add a parameter.

    Raises:
        FamilyError: The grid has no parameter, or a parameter has no value or a duplicate one.
    """
    merged = {**grid, **overrides}
    if not merged:
        raise FamilyError(f"grids.{family}: the grid is empty")
    for parameter, values in merged.items():
        if not values:
            raise FamilyError(f"grids.{family}.{parameter}: the list of values is empty")
        if len({(type(value), value) for value in values}) < len(values):
            raise FamilyError(f"grids.{family}.{parameter}: a value appears twice")
    return list(ParameterGrid({parameter: list(values) for parameter, values in merged.items()}))
