"""What the linear families share: rows centred once for all combinations of the same intercept."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.data.features import Matrix, Vector
from training.families.base import Regressor
from training.params import Params

if TYPE_CHECKING:
    from onnx import ModelProto

INTERCEPT = "fit_intercept"


@dataclass(frozen=True)
class CenteredRows:
    """Rows without their means, where an intercept is fitted; in float64.

    In float32 the normal equations lose half of the digits, and coordinate descent can't reach its
    tolerance.
    """

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    X_mean: NDArray[np.float64]
    y_mean: float

    @classmethod
    def of(cls, X: Matrix, y: Vector, intercept: bool) -> "CenteredRows":
        """Centre a copy of the rows, or only copy them."""
        # By columns: coordinate descent goes through one column after the other.
        rows, labels = np.array(X, dtype=np.float64, order="F"), np.array(y, dtype=np.float64)
        X_mean, y_mean = np.zeros(rows.shape[1]), 0.0
        if intercept:
            X_mean, y_mean = rows.mean(axis=0), float(labels.mean())
            rows -= X_mean
            labels -= y_mean
        return cls(rows, labels, X_mean, y_mean)

    def give(self, model: Regressor, coefficients: NDArray[np.float64]) -> None:
        """Make a model of scikit-learn's what its own fit would have made of it."""
        model.coef_ = coefficients  # type: ignore[attr-defined]
        model.intercept_ = self.y_mean - float(self.X_mean @ coefficients)  # type: ignore[attr-defined]
        model.n_features_in_ = len(coefficients)  # type: ignore[attr-defined]


def group_by_intercept(combinations: Sequence[Params]) -> Iterator[tuple[bool, list[Params]]]:
    """Group combinations by whether an intercept is fitted, which scikit-learn does by default."""
    for intercept in (True, False):
        group = [one for one in combinations if bool(one.get(INTERCEPT, True)) is intercept]
        if group:
            yield intercept, group


def part(
    combinations: Sequence[Params], shareable: Collection[str]
) -> tuple[list[Params], list[Params]]:
    """Part combinations into those of which only shareable parameters are set, and the others."""
    shared = [one for one in combinations if set(one) <= {*shareable, INTERCEPT}]
    return shared, [one for one in combinations if one not in shared]


def linear_to_onnx(model: Regressor, columns: int) -> "ModelProto":
    """Return a linear model as an ONNX graph, computed in float64 as scikit-learn does.

    In float32, as skl2onnx draws it, a row's sum would depend on how many rows are summed at once.
    """
    import spox.opset.ai.onnx.v20 as op  # noqa: PLC0415 - slow to load
    from spox import Tensor, argument, build  # noqa: PLC0415

    X = argument(Tensor(np.float32, ("rows", columns)))
    weights = np.asarray(model.coef_, np.float64).reshape(-1, 1)  # type: ignore[attr-defined]
    intercept = np.float64(model.intercept_)  # type: ignore[attr-defined]
    product = op.matmul(op.cast(X, to=np.float64), op.const(weights))
    graph: ModelProto = build({"X": X}, {"y": op.add(product, op.const(intercept))})
    return graph
