"""A naive training loop, to compare with: one run, dataset and model per combination."""

import json
import sys
import time
import warnings
from collections.abc import Sequence

import mlflow
import mlflow.sklearn
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from benchmarks.bare_fits import MODELS
from contract.settings.loader import load_settings
from training.data.dataset import read_training, split
from training.data.features import fit_features, fit_scaler
from training.metrics import eval_metrics
from training.params import Params
from training.search.grid import plan_grids


def main(per_family: int) -> None:
    """Train and track combinations one after the other; print the seconds of each family as JSON.

    Args:
        per_family: The number of combinations per family, evenly spaced over its grid.
    """
    warnings.simplefilter("ignore")
    settings = load_settings()
    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.create_experiment("naive", settings.artifact_root)  # the default is the current folder
    mlflow.set_experiment("naive")
    data = split(read_training(settings), settings)
    features = fit_features(data.X_train, settings)
    scaler = fit_scaler(features.transform(data.X_train), features)
    results = {}
    for grid in plan_grids(settings):
        selected = _evenly_spaced(grid.combinations, per_family)
        start = time.perf_counter()
        for params in selected:
            with mlflow.start_run():
                scaling = [("scale", clone(scaler))] if grid.family.scaled else []
                model = MODELS[grid.name](random_state=settings.data.seed, **params)
                pipeline = Pipeline([("features", clone(features)), *scaling, ("model", model)])
                pipeline.fit(data.X_train, data.y_train)
                mlflow.log_params(params)
                mlflow.log_metrics(eval_metrics(data.y_val, pipeline.predict(data.X_val)))
                mlflow.log_artifact(settings.resolve_path(settings.data.train))
                mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    input_example=data.X_train.head(5),
                    serialization_format="cloudpickle",
                )
        seconds = time.perf_counter() - start
        results[grid.name] = {
            "trained": len(selected),
            "combinations": len(grid.combinations),
            "seconds": seconds,
        }
    print(json.dumps(results))


def _evenly_spaced(items: Sequence[Params], count: int) -> Sequence[Params]:
    """Return `count` items, each from the middle of a part; all parts have the same length."""
    count = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
