"""Grid search: plan the combinations, encode the rows once, fit the models and evaluate them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from contract.errors import FamilyError
from contract.settings.loader import Settings
from training.data.dataset import Split
from training.data.features import (
    Matrix,
    Vector,
    fit_features,
    fit_scaler,
    limit_working_memory,
)
from training.families import Family, Regressor, load_family
from training.families.base import error_summary
from training.family_registry import check_family_names
from training.metrics import Metrics, eval_metrics
from training.params import Params, combinations


@dataclass(frozen=True)
class FamilyGrid:
    """A family with the combinations to fit."""

    name: str
    family: Family
    combinations: Sequence[Params]

    def combination_name(self, params: Params) -> str:
        """Return a combination in one line: `ridge alpha=1 fit_intercept=True`."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in params.items())])

    def exclude(self, names: Collection[str]) -> "FamilyGrid":
        """Return the grid without the combinations of these names."""
        remaining = [
            params for params in self.combinations if self.combination_name(params) not in names
        ]
        return replace(self, combinations=remaining)


@dataclass(frozen=True)
class PreparedData:
    """The encoded rows, prepared once for all combinations."""

    features: ColumnTransformer
    """From raw to encoded rows. Fitted on the training rows only, like the scaler."""
    scaler: ColumnTransformer
    X_train: Matrix
    X_val: Matrix
    y_train: Vector
    y_val: Vector


@dataclass(frozen=True)
class EvaluatedModel:
    """A fitted model with its metrics."""

    family: str
    params: Params
    model: Regressor
    """From encoded rows to predictions."""
    metrics: Metrics
    """On the validation rows."""
    fit_seconds: float
    """Duration of the fit, without the preparation that all combinations share."""


@dataclass(frozen=True)
class EvaluatedPipeline(EvaluatedModel):
    """An evaluated model as a whole pipeline, ready to be tracked."""

    grid: FamilyGrid
    pipeline: Pipeline
    """From raw rows to predictions."""

    @classmethod
    def from_model(
        cls, evaluated: EvaluatedModel, grid: FamilyGrid, prepared: PreparedData
    ) -> "EvaluatedPipeline":
        """Prepend the steps that encoded the model's rows."""
        scaling = [("scale", prepared.scaler)] if grid.family.scaled else []
        steps = [("features", prepared.features), *scaling, ("model", evaluated.model)]
        return cls(**vars(evaluated), grid=grid, pipeline=Pipeline(steps))

    @property
    def name(self) -> str:
        """The family and its hyperparameters in one line."""
        return self.grid.combination_name(self.params)


def plan_grids(settings: Settings) -> list[FamilyGrid]:
    """Return the combinations to fit, validated before any fit starts.

    Raises:
        FamilyError: A family is unknown or named twice, or its grid is empty or names an unknown
            hyperparameter.
    """
    check_family_names(settings)
    return [_plan_family(name, settings) for name in settings.training.families]


def prepare_data(data_split: Split, settings: Settings) -> PreparedData:
    """Fit the features on the training rows, and encode all rows."""
    features = fit_features(data_split.X_train, settings)
    with limit_working_memory():
        X_train = features.transform(data_split.X_train)
        X_val = features.transform(data_split.X_val)
    return PreparedData(
        features=features,
        scaler=fit_scaler(X_train, features),
        X_train=X_train,
        X_val=X_val,
        y_train=data_split.y_train.to_numpy(np.float64),
        y_val=data_split.y_val.to_numpy(np.float64),
    )


def fit_grids(
    grids: Sequence[FamilyGrid], prepared: PreparedData, seed: int
) -> Iterator[EvaluatedModel]:
    """Fit every combination of every grid; yield each as soon as it is fitted and evaluated.

    The metrics are those of the predictions that the combination's pipeline returns for the raw
    validation rows.

    Raises:
        FamilyError: A family rejects the value of a hyperparameter.
    """
    scaled: tuple[Matrix, Matrix] | None = None
    for grid in grids:
        X_train, X_val = prepared.X_train, prepared.X_val
        if grid.family.scaled:
            scaler = prepared.scaler
            scaled = scaled or (scaler.transform(X_train), scaler.transform(X_val))
            X_train, X_val = scaled
        try:
            for fit in grid.family.fit_grid(grid.combinations, X_train, prepared.y_train, seed):
                metrics = _evaluate(prepared.y_val, fit.model.predict(X_val), grid.name)
                yield EvaluatedModel(grid.name, fit.params, fit.model, metrics, fit.seconds)
        except (ValueError, TypeError) as error:  # how the libraries reject a value
            raise FamilyError(f"grids.{grid.name}: {error_summary(error)}") from error


def _plan_family(name: str, settings: Settings) -> FamilyGrid:
    family = load_family(name)
    try:
        default_grid, known = family.grid, family.model({}, settings.data.seed).get_params()
    except Exception as error:  # a custom family may fail in any way
        reason = f"reading its grid and its model's defaults failed: {error_summary(error)}"
        raise FamilyError(f"{type(family).__name__}: {reason}") from error
    grid = combinations(name, default_grid, settings.grids.get(name, {}))
    for parameter in grid[0]:
        if parameter not in known:
            reason = f"the family has no such parameter; it has {', '.join(sorted(known))}"
            raise FamilyError(f"grids.{name}.{parameter}: {reason}")
    return FamilyGrid(name, family, grid)


def _evaluate(true: Vector, predictions: Vector, family: str) -> Metrics:
    if not np.isfinite(predictions).all():
        raise FamilyError(f"grids.{family}: a combination predicts NaN or an infinite number")
    return eval_metrics(true, predictions)
