"""A peer: the loop as one writes it first, with a run, the data and a model a combination."""

import json
import sys
import time
import warnings
from collections.abc import Sequence

import mlflow
import mlflow.sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from benchmarks.bare import MODELS
from contract.settings.loader import load_settings
from training.data.dataset import read_training, split
from training.data.features import fit_features, fit_scaler
from training.metrics import eval_metrics
from training.params import Params
from training.search.grid import plan_grids


def main(each: int) -> None:
    """Train and track combinations one after the other, and print how long each family took.

    Args:
        each: How many of a family, evenly spread over its grid; all where there are fewer.
    """
    warnings.simplefilter("ignore")
    settings = load_settings()
    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.create_experiment("naive", settings.artifact_root)  # else a folder below this one
    mlflow.set_experiment("naive")
    rows = split(read_training(settings), settings)
    features = fit_features(rows.X_train, settings)
    scaler = fit_scaler(features.transform(rows.X_train), features)
    families = {}
    for grid in plan_grids(settings):
        chosen = _spread(grid.combinations, each)
        began = time.perf_counter()
        for params in chosen:
            with mlflow.start_run():
                scaling = [("scale", clone(scaler))] if grid.family.scaled else []
                model = MODELS[grid.name](random_state=settings.data.seed, **params)
                pipeline = Pipeline([("features", clone(features)), *scaling, ("model", model)])
                pipeline.fit(rows.X_train, rows.y_train)
                mlflow.log_params(params)
                mlflow.log_metrics(eval_metrics(rows.y_val, pipeline.predict(rows.X_val)))
                mlflow.log_artifact(settings.resolve_path(settings.data.train))
                mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    input_example=rows.X_train.head(5),
                    serialization_format="cloudpickle",
                )
        seconds = time.perf_counter() - began
        families[grid.name] = {
            "trained": len(chosen),
            "of": len(grid.combinations),
            "seconds": seconds,
        }
    print(json.dumps(families))


def _spread(items: Sequence[Params], count: int) -> Sequence[Params]:
    """Return so many of the items, from the middles of parts of equal length."""
    count = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
