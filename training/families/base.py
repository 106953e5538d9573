"""What a family of models is."""

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
    """What is used of scikit-learn's estimators."""

    def fit(self, X: Matrix, y: Vector) -> "Regressor":
        """Learn from rows x encoded columns and their labels."""
        ...

    def predict(self, X: Matrix) -> Vector:
        """Return a prediction a row."""
        ...

    def get_params(self) -> dict[str, object]:
        """Return the hyperparameters by name."""
        ...


@dataclass(frozen=True)
class Fit:
    """One combination, fitted."""

    params: Params
    model: Regressor
    seconds: float
    """What it took; of work that combinations share, a share."""


def error_summary(error: Exception) -> str:
    """Return what a library says of a value, in one line and without its own source's place."""
    text = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", str(error).strip())
    lines = text.splitlines()
    return lines[0] if lines else type(error).__name__


class Family(ABC):
    """A kind of model, its grid, and how it fits that grid.

    A family of your own subclasses this and is named in `training.families.FAMILIES`
    (docs/add-a-family.md).
    """

    grid: ClassVar[ParamGrid]
    """The values to try, unless settings.toml says otherwise."""
    scaled: ClassVar[bool] = True
    """Whether the numbers are scaled for it. Linear models need that; trees are harmed by it."""
    requirements: ClassVar[Sequence[str]] = ()
    """Distributions that its models need besides scikit-learn; the first one installed counts."""
    trusted_types: ClassVar[Sequence[str]] = ()
    """Types outside scikit-learn that skops may load as part of its models, by their full names."""

    @abstractmethod
    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted model; with its defaults for what the parameters don't say.

        Args:
            params: Hyperparameters by name; none at all where only the defaults are asked for.
            seed: For what is random in it.
        """

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Fit every combination, in any order, and yield each as soon as it is there.

        A family overrides this to share work among its combinations. A combination's model must not
        depend on which others are fitted with it: after an interruption only the missing ones are.

        Args:
            combinations: What to fit, each once.
            X: Training rows x encoded columns, float32; scaled where `scaled` says so.
            y: The training rows' labels.
            seed: For what is random in the models.
        """
        for params in combinations:
            start = time.perf_counter()
            model = self.model(params, seed).fit(X, y)
            yield Fit(params, model, time.perf_counter() - start)

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Return a fitted model as an ONNX graph, which is how it is released.

        Its input is rows x columns of float, its output a number a row. A family overrides this
        where skl2onnx knows no converter for its model.

        Args:
            model: One of this family's, fitted.
            columns: How many encoded columns it was fitted on.
        """
        from skl2onnx import to_onnx  # noqa: PLC0415 - slow to load
        from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

        graph: ModelProto = to_onnx(model, initial_types=[("X", FloatTensorType([None, columns]))])
        return graph
