"""A check that the models of a family can be exported, before any of them is fitted."""

import numpy as np

from contract.errors import FamilyError
from contract.release import PARITY_TOLERANCE
from training.data.features import Matrix, Vector
from training.families.base import Regressor, error_summary
from training.search.grid import FamilyGrid

ROWS, COLUMNS = 40, 3


def check_export(grid: FamilyGrid, seed: int) -> None:
    """Fit the first combination on a few synthetic rows, and export it to ONNX.

    Raises:
        FamilyError: The export fails, or its predictions differ from the model's.
    """
    if not grid.combinations:
        return
    random = np.random.default_rng(seed)
    X = random.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    y = 100 + X @ np.arange(1.0, COLUMNS + 1)
    try:
        (fit,) = grid.family.fit_grid(grid.combinations[:1], X, y, seed)
    except Exception:  # the fit on the real rows reports it
        return
    try:
        exported = _predict_with_onnx(grid, fit.model, X)
    except Exception as error:  # the converters fail in any way
        reason = f"its model can't be exported to ONNX: {error_summary(error)}"
        hint = "override to_onnx in the family"
        raise FamilyError(f"grids.{grid.name}: {reason} ({hint})") from error
    difference = max_relative_difference(exported, np.asarray(fit.model.predict(X)))
    if difference > PARITY_TOLERANCE:
        reason = f"the predictions of its ONNX export differ by {difference:.1e}"
        raise FamilyError(f"grids.{grid.name}: {reason} (at most {PARITY_TOLERANCE:.0e})")


def max_relative_difference(actual: Vector, expected: Vector) -> float:
    """Return the largest relative difference between two vectors of predictions."""
    actual, expected = (np.asarray(array, np.float64).ravel() for array in (actual, expected))
    if not np.isfinite(actual).all():
        return float("inf")
    return float((np.abs(actual - expected) / np.maximum(np.abs(expected), 1e-9)).max(initial=0))


def _predict_with_onnx(grid: FamilyGrid, model: Regressor, X: Matrix) -> Vector:
    from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415 - slow to load

    options = SessionOptions()
    options.intra_op_num_threads = 1
    content = grid.family.to_onnx(model, X.shape[1]).SerializeToString()
    session = InferenceSession(content, options)
    predictions: Vector = session.run(None, {session.get_inputs()[0].name: X})[0]
    return predictions
