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


def test_the_grids_have_78_combinations() -> None:
    counts = {grid.name: len(grid.combinations) for grid in plan_grids(load_settings())}

    assert counts == {"ridge": 6, "elasticnet": 18, "xgboost": 54}
    assert ridge_param_grid["alpha"] == elasticnet_param_grid["alpha"] == (0.1, 1, 10)
    assert xgb_param_grid["n_estimators"] == (100, 300, 500)


def test_settings_replace_a_parameters_values_and_add_parameters() -> None:
    changed = combinations("ridge", ridge_param_grid, {"alpha": (5,), "solver": ("svd", "lsqr")})

    assert len(changed) == 1 * 2 * 2
    assert {params["alpha"] for params in changed} == {5}
    assert {params["fit_intercept"] for params in changed} == {True, False}
    assert {params["solver"] for params in changed} == {"svd", "lsqr"}


@pytest.mark.parametrize(
    ("grid", "changes", "message"),
    [
        ({}, {}, "grids.ridge: the grid is empty"),
        ({"alpha": (1,)}, {"alpha": ()}, "grids.ridge.alpha: the grid is empty"),
        ({"alpha": (1,)}, {"alpha": (1, 2, 1)}, "grids.ridge.alpha: a value is there twice"),
    ],
)
def test_a_grid_without_a_combination_is_refused(
    grid: ParamGrid, changes: ParamGrid, message: str
) -> None:
    with pytest.raises(FamilyError, match=message):
        combinations("ridge", grid, changes)
