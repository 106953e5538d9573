"""The engine: plan every combination, prepare the rows once, fit, score on the validation rows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from contract.errors import FamilyError
from contract.settings.loader import Settings
from training.data.dataset import Split
from training.data.features import Matrix, Vector, fit_features, fit_scaler
from training.families import FAMILIES, Family, Regressor, load_family
from training.families.base import error_summary
from training.metrics import Metrics, eval_metrics
from training.params import Params, combinations


@dataclass(frozen=True)
class FamilyGrid:
    """A family with the combinations to fit."""

    name: str
    family: Family
    combinations: Sequence[Params]

    def title(self, params: Params) -> str:
        """Return a combination in one line: `ridge alpha=1 fit_intercept=True`."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in params.items())])

    def without(self, titles: Collection[str]) -> "FamilyGrid":
        """Return the grid without the combinations of these titles."""
        rest = [params for params in self.combinations if self.title(params) not in titles]
        return replace(self, combinations=rest)


@dataclass(frozen=True)
class PreparedData:
    """The rows as the families take them, prepared once for all."""

    features: ColumnTransformer
    """From raw rows to encoded ones; learned from the training rows alone, as the scaler is."""
    scaler: ColumnTransformer
    X_train: Matrix
    X_val: Matrix
    y_train: Vector
    y_val: Vector


@dataclass(frozen=True)
class ScoredModel:
    """A fitted combination and what it is worth."""

    family: str
    params: Params
    model: Regressor
    """From encoded rows to predictions."""
    metrics: Metrics
    """On the validation rows."""
    seconds: float
    """What fitting it took, without the preparation that all share."""


@dataclass(frozen=True)
class Candidate(ScoredModel):
    """The same with all that it takes to be recorded."""

    grid: FamilyGrid
    pipeline: Pipeline
    """From raw rows to predictions."""

    @classmethod
    def of(cls, scored: ScoredModel, grid: FamilyGrid, rows: PreparedData) -> "Candidate":
        """Put the steps in front of the model that its rows have been through."""
        scaling = [("scale", rows.scaler)] if grid.family.scaled else []
        steps = [("features", rows.features), *scaling, ("model", scored.model)]
        return cls(**vars(scored), grid=grid, pipeline=Pipeline(steps))

    @property
    def name(self) -> str:
        """The family and its parameters in one line."""
        return self.grid.title(self.params)


def plan_grids(settings: Settings) -> list[FamilyGrid]:
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


def prepare_data(split: Split, settings: Settings) -> PreparedData:
    """Learn the features from the training rows, and encode all rows."""
    features = fit_features(split.X_train, settings)
    X_train = features.transform(split.X_train)
    return PreparedData(
        features=features,
        scaler=fit_scaler(X_train, features),
        X_train=X_train,
        X_val=features.transform(split.X_val),
        y_train=split.y_train.to_numpy(np.float64),
        y_val=split.y_val.to_numpy(np.float64),
    )


def fit_grids(grids: Sequence[FamilyGrid], rows: PreparedData, seed: int) -> Iterator[ScoredModel]:
    """Fit every combination of every grid; yield each as soon as it is fitted and scored.

    What a combination's metrics come from is what its pipeline predicts for the raw validation
    rows.

    Raises:
        FamilyError: A family refuses a parameter's value.
    """
    scaled: tuple[Matrix, Matrix] | None = None
    for grid in grids:
        X_train, X_val = rows.X_train, rows.X_val
        if grid.family.scaled:
            scaled = scaled or (rows.scaler.transform(X_train), rows.scaler.transform(X_val))
            X_train, X_val = scaled
        try:
            for fit in grid.family.fit_grid(grid.combinations, X_train, rows.y_train, seed):
                metrics = _score(rows.y_val, fit.model.predict(X_val), grid.name)
                yield ScoredModel(grid.name, fit.params, fit.model, metrics, fit.seconds)
        except (ValueError, TypeError) as error:  # the libraries' ways to refuse a value
            raise FamilyError(f"grids.{grid.name}: {error_summary(error)}") from error


def _plan_family(name: str, settings: Settings) -> FamilyGrid:
    family = load_family(name)
    try:
        own, known = family.grid, family.model({}, settings.data.seed).get_params()
    except Exception as error:  # a family of the user's own may fail in any way
        reason = f"can't say its grid and its model's defaults: {error_summary(error)}"
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
