"""The base class of the linear families: one preparation of the rows for many penalties."""

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.data.features import Matrix, Vector
from training.families.base import Family, Fit, Regressor, WorkUnit
from training.params import Params

if TYPE_CHECKING:
    from onnx import ModelProto

INTERCEPT = "fit_intercept"
COMBINATION_COST = 0.01
"""Seconds per combination on the Ames table, shared work included, for `WorkUnit.cost`.

Measured: Ridge 0.007, ElasticNet 0.016.
"""
Floats = NDArray[np.float64]
Solver = Callable[[Any], Floats]
"""Returns the coefficients of an unfitted scikit-learn model on the prepared rows."""


@dataclass(frozen=True)
class CenteredRows:
    """Rows in float64, without their means if an intercept is fitted.

    In float32 the normal equations lose half of the digits, and coordinate descent can't reach its
    tolerance.
    """

    X: Floats
    y: Floats
    X_mean: Floats
    y_mean: float

    @classmethod
    def from_rows(cls, X: Matrix, y: Vector, intercept: bool) -> "CenteredRows":
        """Copy the rows, and center the copy if an intercept is fitted."""
        # Fortran order: coordinate descent goes through one column after the other.
        rows, labels = np.array(X, dtype=np.float64, order="F"), np.array(y, dtype=np.float64)
        X_mean, y_mean = np.zeros(rows.shape[1]), 0.0
        if intercept:
            X_mean, y_mean = rows.mean(axis=0), float(labels.mean())
            rows -= X_mean
            labels -= y_mean
        return cls(rows, labels, X_mean, y_mean)

    def fit(self, model: Any, **params: object) -> Floats:  # noqa: ANN401
        """Fit a scikit-learn model, with some parameters changed; return the coefficients."""
        own = model.get_params()
        model.set_params(fit_intercept=False, **params).fit(self.X, self.y)
        coefficients: Floats = model.set_params(**own).coef_
        return coefficients

    def set_coefficients(self, model: Any, coefficients: Floats) -> None:  # noqa: ANN401
        """Set the attributes that scikit-learn's own `fit` would set on the model."""
        model.coef_ = coefficients
        model.intercept_ = self.y_mean - float(self.X_mean @ coefficients)
        model.n_features_in_ = len(coefficients)


class LinearFamily(Family):
    """A linear model of scikit-learn, of which many combinations share the centered rows."""

    estimator: ClassVar[type[Any]]
    defaults: ClassVar[Mapping[str, object]] = {}
    """Hyperparameters that differ from scikit-learn's defaults."""
    shareable: ClassVar[Collection[str]]
    """Hyperparameters, besides the intercept, that combinations may set and still share work."""

    @abstractmethod
    def solver(self, rows: CenteredRows) -> Solver:
        """Do the work that all combinations share; return a function that solves one of them."""

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted model."""
        model: Regressor = self.estimator(**{"random_state": seed, **self.defaults, **params})
        return model

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Prepare the rows once with and once without an intercept."""
        groups, others = self._by_intercept(combinations)
        for intercept, group in groups.items():
            yield from self._fit_group(group, X, y, seed, intercept)
        if others:
            yield from super().fit_grid(others, X.astype(np.float64), y, seed)

    def _fit_group(
        self, group: Sequence[Params], X: Matrix, y: Vector, seed: int, intercept: bool
    ) -> Iterator[Fit]:
        # In a generator of its own, so that the rows are freed before the next group's are copied.
        start = time.perf_counter()
        rows = CenteredRows.from_rows(X, y, intercept)
        solve = self.solver(rows)
        preparation = (time.perf_counter() - start) / len(group)
        for params in group:
            start = time.perf_counter()
            model = self.model(params, seed)
            rows.set_coefficients(model, solve(model))
            yield Fit(params, model, preparation + time.perf_counter() - start)

    def work_units(self, combinations: Sequence[Params]) -> Sequence[WorkUnit]:
        """Return one unit per preparation of the rows, and the combinations that need their own."""
        groups, others = self._by_intercept(combinations)
        units = [*groups.values(), *([params] for params in others)]
        return [WorkUnit(unit, COMBINATION_COST * len(unit)) for unit in units]

    def _by_intercept(
        self, combinations: Sequence[Params]
    ) -> tuple[Mapping[bool, Sequence[Params]], Sequence[Params]]:
        """Return the combinations that share the rows with or without an intercept, and the others.

        A group without combinations is left out.
        """
        groups: dict[bool, list[Params]] = {}
        others: list[Params] = []
        for params in combinations:
            if set(params) <= {*self.shareable, INTERCEPT}:
                groups.setdefault(bool(params.get(INTERCEPT, True)), []).append(params)
            else:
                others.append(params)
        return groups, others

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Export a fitted model to ONNX, computed in float64 as scikit-learn does.

        In float32, as skl2onnx exports it, a row's sum would depend on how many rows are summed at
        once.
        """
        import spox.opset.ai.onnx.v20 as op  # noqa: PLC0415 - slow to load
        from spox import Tensor, argument, build  # noqa: PLC0415

        X = argument(Tensor(np.float32, ("rows", columns)))
        weights = np.asarray(model.coef_, np.float64).reshape(-1, 1)  # type: ignore[attr-defined]
        intercept = np.float64(model.intercept_)  # type: ignore[attr-defined]
        product = op.matmul(op.cast(X, to=np.float64), op.const(weights))
        graph: ModelProto = build({"X": X}, {"y": op.add(product, op.const(intercept))})
        return graph
