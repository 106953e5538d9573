"""The engine: plan every combination, prepare the rows once, fit, score on the validation rows."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from contract.errors import FamilyError
from contract.settings import Settings
from training.data import Split
from training.families import FAMILIES, Family, load_family
from training.families.base import reason_of
from training.features import Vector, fit_features, fit_scaler
from training.metrics import Metrics, eval_metrics
from training.params import Params, combinations


@dataclass(frozen=True)
class FamilyGrid:
    """A family with the combinations to fit."""

    name: str
    family: Family
    combinations: Sequence[Params]


@dataclass(frozen=True)
class Candidate:
    """A fitted combination and what it is worth."""

    grid: FamilyGrid
    params: Params
    pipeline: Pipeline
    """From raw rows to predictions."""
    metrics: Metrics
    """On the validation rows."""
    seconds: float
    """What fitting it took, without the preparation that all share."""

    @property
    def name(self) -> str:
        """The family and its parameters in one line: `ridge alpha=1 fit_intercept=True`."""
        return " ".join([self.grid.name, *(f"{k}={v}" for k, v in self.params.items())])


def plan(settings: Settings) -> list[FamilyGrid]:
    """List what is to be fitted, checked before any work begins.

    Raises:
        FamilyError: A family is unknown, named twice, has an empty grid or lacks a parameter.
    """
    names = settings.training.families
    for name in settings.grids:
        if name not in FAMILIES:
            raise FamilyError(f"grids.{name}: no such family; there are {', '.join(FAMILIES)}")
    if len(set(names)) < len(names):
        raise FamilyError(f"training.families: a family is there twice: {', '.join(names)}")
    return [_plan_family(name, settings) for name in names]


def fit_grids(
    grids: Sequence[FamilyGrid], split: Split, settings: Settings
) -> Generator[Candidate]:
    """Fit every combination of every grid; yield each as soon as it is fitted and scored.

    Features are learned from the training rows alone, once for all; what a combination's metrics
    come from is what its pipeline predicts for the raw validation rows.

    Raises:
        FamilyError: A family refuses a parameter's value.
    """
    features = fit_features(split.X_train, settings)
    X_train, X_val = features.transform(split.X_train), features.transform(split.X_val)
    scaler = fit_scaler(X_train, features)
    scaled = (scaler.transform(X_train), scaler.transform(X_val))
    y_train, y_val = split.y_train.to_numpy(np.float64), split.y_val.to_numpy(np.float64)
    for grid in grids:
        steps = [("features", features)]
        rows, judges = X_train, X_val
        if grid.family.scaled:
            steps.append(("scale", scaler))
            rows, judges = scaled
        try:
            fits = grid.family.fit_grid(grid.combinations, rows, y_train, settings.data.seed)
            with closing(fits):
                for fit in fits:
                    pipeline = Pipeline([*steps, ("model", fit.model)])
                    metrics = _score(y_val, fit.model.predict(judges), grid.name)
                    yield Candidate(grid, fit.params, pipeline, metrics, fit.seconds)
        except (ValueError, TypeError) as error:  # the libraries' ways to refuse a value
            raise FamilyError(f"grids.{grid.name}: {reason_of(error)}") from error


def _plan_family(name: str, settings: Settings) -> FamilyGrid:
    family = load_family(name)
    try:
        own, known = family.grid, family.model({}, settings.data.seed).get_params()
    except Exception as error:  # a family of the user's own may fail in any way
        reason = f"can't say its grid and its model's defaults: {reason_of(error)}"
        raise FamilyError(f"{type(family).__name__}: {reason}") from error
    grid = combinations(name, own, settings.grids.get(name, {}))
    for parameter in grid[0]:
        if parameter not in known:
            reason = f"the family has no such parameter; it has {', '.join(sorted(known))}"
            raise FamilyError(f"grids.{name}.{parameter}: {reason}")
    return FamilyGrid(name, family, grid)


def _score(truth: Vector, predictions: Vector, name: str) -> Metrics:
    if not np.isfinite(predictions).all():
        raise FamilyError(f"grids.{name}: a combination predicts what is no finite number")
    return eval_metrics(truth, predictions)
