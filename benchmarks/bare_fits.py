"""The bare fits, to compare with: one after the other, with the libraries' defaults, untracked."""

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
    """Fit every combination of the settings' grids on the matrices that `make train` fits on."""
    # ElasticNet doesn't converge in its default of 1,000 iterations; more would only take longer.
    warnings.simplefilter("ignore", ConvergenceWarning)
    settings = load_settings()
    prepared = prepare_data(split(read_training(settings), settings), settings)
    scaled = prepared.scaler.transform(prepared.X_train)
    seconds = {}
    for grid in plan_grids(settings):
        start = time.perf_counter()
        X = scaled if grid.family.scaled else prepared.X_train
        for params in grid.combinations:
            MODELS[grid.name](random_state=settings.data.seed, **params).fit(X, prepared.y_train)
        seconds[grid.name] = time.perf_counter() - start
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
