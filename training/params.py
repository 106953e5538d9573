"""The hyperparameter grids, and how a grid becomes combinations.

The grids here are the families' own; `[grids.<family>]` in settings.toml replaces or widens them.
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


def combinations(family: str, grid: ParamGrid, changes: ParamGrid) -> list[Params]:
    """Return every combination of a family's grid, in a fixed order.

    Args:
        family: The family's name, for the message.
        grid: The family's own grid.
        changes: Values that replace a parameter's, or add a parameter.

    Raises:
        FamilyError: The grid has no parameter, or one without a value or with one twice.
    """
    merged = {**grid, **changes}
    if not merged:
        raise FamilyError(f"grids.{family}: the grid is empty")
    for parameter, values in merged.items():
        if not values:
            raise FamilyError(f"grids.{family}.{parameter}: the grid is empty: it names no value")
        if len({(type(value), value) for value in values}) < len(values):
            raise FamilyError(f"grids.{family}.{parameter}: a value is there twice")
    return list(ParameterGrid({parameter: list(values) for parameter, values in merged.items()}))
