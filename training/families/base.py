"""The base class of model families."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from contract.settings.sections import ParamGrid
from training.data.features import Matrix, Vector
from training.params import Params

if TYPE_CHECKING:
    from onnx import ModelProto


class Regressor(Protocol):
    """The part of scikit-learn's estimator interface that is used."""

    def fit(self, X: Matrix, y: Vector) -> "Regressor":
        """Fit on rows x encoded columns and their labels."""
        ...

    def predict(self, X: Matrix) -> Vector:
        """Return one prediction per row."""
        ...

    def get_params(self) -> dict[str, object]:
        """Return the hyperparameters by name."""
        ...


@dataclass(frozen=True)
class Fit:
    """A fitted combination."""

    params: Params
    model: Regressor
    seconds: float
    """Duration, including an equal share of the work that combinations share."""


@dataclass(frozen=True)
class WorkUnit:
    """Combinations that share work, and are therefore fitted on one host."""

    combinations: Sequence[Params]
    cost: float
    """Roughly the seconds that one core takes to fit them on the Ames table (1172 x 317).

    Hosts are balanced by it, so only the ratios between units of all families matter.
    """


def error_summary(error: Exception) -> str:
    """Return a library's error in one line, without the position in the library's source."""
    text = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", str(error).strip())
    lines = text.splitlines()
    return lines[0] if lines else type(error).__name__


class Family(ABC):
    """A kind of model, its default grid, and how it fits a grid.

    A custom family subclasses this and is registered in `training.family_registry.FAMILIES`
    (docs/add-a-family.md).
    """

    grid: ClassVar[ParamGrid]
    """The default grid, which settings.toml can override."""
    scaled: ClassVar[bool] = True
    """Whether numeric columns are scaled. Linear models need that; trees are harmed by it."""
    requirements: ClassVar[Sequence[str]] = ()
    """Distributions that its models need besides scikit-learn; the first one installed is used."""
    trusted_types: ClassVar[Sequence[str]] = ()
    """Types outside scikit-learn that skops may load as part of its models, by their full names."""

    @abstractmethod
    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted model, with its defaults for hyperparameters that aren't given.

        Args:
            params: Hyperparameters by name; empty to get the defaults.
            seed: Seed of the model's random numbers.
        """

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Fit every combination, in any order, and yield each as soon as it is fitted.

        A family overrides this to share work among combinations. The model of a combination must
        not depend on which others are fitted with it: a resumed training fits only those missing.

        Args:
            combinations: The combinations to fit, without duplicates.
            X: Training rows x encoded columns, float32; scaled if `scaled` is true.
            y: The labels of the training rows.
            seed: Seed of the models' random numbers.
        """
        for params in combinations:
            start = time.perf_counter()
            model = self.model(params, seed).fit(X, y)
            yield Fit(params, model, time.perf_counter() - start)

    def work_units(self, combinations: Sequence[Params]) -> Sequence[WorkUnit]:
        """Group the combinations that share work; several hosts divide the units among them.

        A family that overrides `fit_grid` overrides this as well, or hosts repeat the shared work.
        The units must depend on the combinations only: every host computes them for itself.

        Args:
            combinations: The combinations to fit, without duplicates; each belongs to one unit.
        """
        return [WorkUnit([params], cost=1.0) for params in combinations]

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Export a fitted model to ONNX, the format in which it is released.

        The graph's input is rows x columns of float, its output one number per row. A family
        overrides this if skl2onnx has no converter for its model.

        Args:
            model: A fitted model of this family.
            columns: Number of encoded columns that it was fitted on.
        """
        from skl2onnx import to_onnx  # noqa: PLC0415 - slow to load
        from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

        graph: ModelProto = to_onnx(model, initial_types=[("X", FloatTensorType([None, columns]))])
        return graph
