"""Whether a family's models can be released, asked before any of them is fitted."""

import numpy as np

from contract.errors import FamilyError
from contract.release import PARITY_TOLERANCE
from training.data.features import Matrix, Vector
from training.families.base import Regressor, error_summary
from training.search.grid import FamilyGrid

ROWS, COLUMNS = 40, 3


def check_export(grid: FamilyGrid, seed: int) -> None:
    """Fit the first combination on a few made-up rows, and draw it as ONNX.

    Raises:
        FamilyError: It can't be drawn, or what is drawn predicts otherwise.
    """
    if not grid.combinations:
        return
    numbers = np.random.default_rng(seed)
    X = numbers.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    y = 100 + X @ np.arange(1.0, COLUMNS + 1)
    try:
        (fit,) = grid.family.fit_grid(grid.combinations[:1], X, y, seed)
    except Exception:  # whatever it is, the real rows will say it
        return
    try:
        drawn = _run(grid, fit.model, X)
    except Exception as error:  # the converters fail in any way
        reason = f"its model can't be released: {error_summary(error)}"
        raise FamilyError(f"grids.{grid.name}: {reason} (its to_onnx may say how)") from error
    if (
        apart := max_relative_difference(drawn, np.asarray(fit.model.predict(X)))
    ) > PARITY_TOLERANCE:
        raise FamilyError(f"grids.{grid.name}: its ONNX form differs from its model by {apart:.1e}")


def max_relative_difference(drawn: Vector, fitted: Vector) -> float:
    """Return the largest relative difference between two predictions of a row."""
    drawn, fitted = np.asarray(drawn, np.float64).ravel(), np.asarray(fitted, np.float64).ravel()
    if not np.isfinite(drawn).all():
        return float("inf")
    return float((np.abs(drawn - fitted) / np.maximum(np.abs(fitted), 1e-9)).max(initial=0))


def _run(grid: FamilyGrid, model: Regressor, X: Matrix) -> Vector:
    from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415 - slow to load

    options = SessionOptions()
    options.intra_op_num_threads = 1
    content = grid.family.to_onnx(model, X.shape[1]).SerializeToString()
    session = InferenceSession(content, options)
    predictions: Vector = session.run(None, {session.get_inputs()[0].name: X})[0]
    return predictions
