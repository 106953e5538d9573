import pytest

from contract.errors import FamilyError
from contract.settings.loader import load_settings
from contract.settings.sections import ParamGrid
from training.params import (
    combinations,
    elasticnet_param_grid,
    ridge_param_grid,
    xgb_param_grid,
)
from training.search.grid import plan_grids


def test_default_grids_have_78_combinations() -> None:
    counts = {grid.name: len(grid.combinations) for grid in plan_grids(load_settings())}

    assert counts == {"ridge": 6, "elasticnet": 18, "xgboost": 54}
    assert ridge_param_grid["alpha"] == elasticnet_param_grid["alpha"] == (0.1, 1, 10)
    assert xgb_param_grid["n_estimators"] == (100, 300, 500)


def test_overrides_replace_values_and_add_parameters() -> None:
    expanded = combinations("ridge", ridge_param_grid, {"alpha": (5,), "solver": ("svd", "lsqr")})

    assert len(expanded) == 1 * 2 * 2
    assert {params["alpha"] for params in expanded} == {5}
    assert {params["fit_intercept"] for params in expanded} == {True, False}
    assert {params["solver"] for params in expanded} == {"svd", "lsqr"}


@pytest.mark.parametrize(
    ("grid", "overrides", "message"),
    [
        ({}, {}, "grids.ridge: the grid is empty"),
        ({"alpha": (1,)}, {"alpha": ()}, "grids.ridge.alpha: the list of values is empty"),
        ({"alpha": (1,)}, {"alpha": (1, 2, 1)}, "grids.ridge.alpha: a value appears twice"),
    ],
)
def test_invalid_grid_is_rejected(grid: ParamGrid, overrides: ParamGrid, message: str) -> None:
    with pytest.raises(FamilyError, match=message):
        combinations("ridge", grid, overrides)
