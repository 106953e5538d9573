"""The proof that a release predicts what its scikit-learn pipeline predicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from contract.errors import ReleaseError
from contract.release import MISSING_INT64, PARITY_TOLERANCE, Column
from training.data.features import Vector
from training.data.tables import is_text_column
from training.search.export_check import max_relative_difference

UNKNOWN = "unknown to all"
UNKNOWN_CODE = 987_654_321


class OnnxModel:
    """A release's graph, asked with tables."""

    def __init__(self, content: bytes, packed: Sequence[Column] = ()) -> None:
        """Load it as a server does: on one thread.

        Args:
            content: The ONNX file.
            packed: The columns, where those of a type are one input.
        """
        self._packed = packed
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options)

    def predict(self, X: pd.DataFrame) -> Vector:
        """Return a prediction a row, float32."""
        feeds = {one.name: self._feed(X, one.name, one.type) for one in self._session.get_inputs()}
        predictions: Vector = self._session.run(None, feeds)[0]
        return predictions

    def _feed(self, X: pd.DataFrame, name: str, kind: str) -> NDArray[np.generic]:
        if not self._packed:
            return _values(X[name], kind)
        return np.stack(
            [_values(X[one.name], kind) for one in self._packed if one.packed_input == name]
        )


def check_parity(
    graph: OnnxModel,
    packed: OnnxModel,
    pipeline: Pipeline,
    tables: Mapping[str, pd.DataFrame],
    columns: list[Column],
) -> float:
    """Compare them on all rows, and on rows with gaps and with unknown categories.

    Returns:
        The largest relative difference there is.

    Raises:
        ReleaseError: A row's predictions differ by more than 1e-5, or at all between the graphs;
            the message names the row.
    """
    largest = 0.0
    for name, X in {**tables, **_hard_cases(tables, columns)}.items():
        fitted = np.asarray(pipeline.predict(X), np.float64)
        drawn = np.asarray(graph.predict(X), np.float64)
        apart = [
            max_relative_difference(drawn[row : row + 1], fitted[row : row + 1])
            for row in range(len(X))
        ]
        worst = int(np.argmax(apart))
        if apart[worst] > PARITY_TOLERANCE:
            figures = f"{drawn[worst]:.9g} instead of {fitted[worst]:.9g}"
            raise ReleaseError(f"not released: row {worst + 1} of {name}: ONNX predicts {figures}")
        if not np.array_equal(drawn, packed.predict(X)):
            raise ReleaseError(f"not released: the packed graph predicts {name} otherwise")
        largest = max(largest, apart[worst])
    return largest


def _hard_cases(
    tables: Mapping[str, pd.DataFrame], columns: list[Column]
) -> dict[str, pd.DataFrame]:
    """Return rows as they come in life, and not in the tables."""
    cases = {}
    for name, X in tables.items():
        gaps, unknown = X.copy(), X.copy()
        for column in columns:
            if not column.required:
                gaps[column.name] = _nothing(X[column.name])
            if column.role in {"text_category", "text_category_with_missing"}:
                unknown[column.name] = UNKNOWN
            elif column.role == "numeric_category":
                unknown[column.name] = UNKNOWN_CODE
        cases[f"{name} with every optional value missing"] = gaps
        cases[f"{name} with unknown categories"] = unknown
    return cases


def _nothing(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.Series(
        np.nan, index=column.index, dtype="str" if is_text_column(column) else "float64"
    )


def _values(column: "pd.Series[Any]", kind: str) -> NDArray[np.generic]:
    match kind:
        case "tensor(int64)":
            return column.fillna(MISSING_INT64).to_numpy(np.int64)
        case "tensor(string)":
            return column.fillna("").to_numpy(object)
        case "tensor(bool)":
            return column.to_numpy(np.bool_)
        case "tensor(double)":
            return column.to_numpy(np.float64)
        case _:
            return column.to_numpy(np.float32)
