"""A peer: the bare fits, one after the other with the libraries' defaults; nothing is tracked."""

import json
import time
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Ridge
from xgboost import XGBRegressor

from contract.settings.loader import load_settings
from training.data.dataset import read_training, split
from training.search.grid import plan_grids, prepare_data

MODELS = {"ridge": Ridge, "elasticnet": ElasticNet, "xgboost": XGBRegressor}


def main() -> None:
    """Fit every combination of the settings' grids on the matrices that the engine fits on."""
    # With its default of 1,000 steps ElasticNet stops early; more would only take longer.
    warnings.simplefilter("ignore", ConvergenceWarning)
    settings = load_settings()
    rows = prepare_data(split(read_training(settings), settings), settings)
    scaled = rows.scaler.transform(rows.X_train)
    seconds = {}
    for grid in plan_grids(settings):
        began = time.perf_counter()
        X = scaled if grid.family.scaled else rows.X_train
        for params in grid.combinations:
            MODELS[grid.name](random_state=settings.data.seed, **params).fit(X, rows.y_train)
        seconds[grid.name] = time.perf_counter() - began
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
