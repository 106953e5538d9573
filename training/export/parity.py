"""The parity check: a release must predict what its scikit-learn pipeline predicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from contract.errors import ReleaseError
from contract.release import MISSING_INT64, PARITY_TOLERANCE, Column
from training.data.features import Vector, limit_working_memory
from training.data.tables import is_text_column
from training.search.export_check import max_relative_difference

ROWS_PER_RUN = 256
"""How many rows the graph predicts at once, like the server: it holds rows x donors x columns.

In one run, the 35,000 training rows of a table of 15 MB took 5.4 GB.
"""
ROWS_PER_BLOCK = 10_000
"""How many rows are converted and compared at once."""
UNKNOWN_TEXT = "an unknown category"
UNKNOWN_NUMBER = 987_654_321


class OnnxModel:
    """A release's graph, which predicts the rows of a table."""

    def __init__(self, content: bytes, packed_columns: Sequence[Column] = ()) -> None:
        """Load the graph as the server does: on one thread.

        Args:
            content: The ONNX file.
            packed_columns: The columns, if the graph has one input per column type.
        """
        self._packed_columns = packed_columns
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options)

    def predict(self, X: pd.DataFrame) -> Vector:
        """Return one prediction per row, in float32; a row's doesn't depend on the other rows."""
        return np.concatenate([self._predict(block) for block in _split_rows(X, ROWS_PER_BLOCK)])

    def _predict(self, X: pd.DataFrame) -> Vector:
        inputs = {
            tensor.name: self._input_values(X, tensor.name, tensor.type)
            for tensor in self._session.get_inputs()
        }
        runs = [
            {name: values[..., start : start + ROWS_PER_RUN] for name, values in inputs.items()}
            for start in range(0, max(len(X), 1), ROWS_PER_RUN)
        ]
        return np.concatenate([self._session.run(None, run)[0] for run in runs])

    def _input_values(self, X: pd.DataFrame, name: str, onnx_type: str) -> NDArray[np.generic]:
        if not self._packed_columns:
            return _to_array(X[name], onnx_type)
        return np.stack(
            [
                _to_array(X[column.name], onnx_type)
                for column in self._packed_columns
                if column.packed_input == name
            ]
        )


def check_parity(
    model: OnnxModel,
    packed: OnnxModel,
    pipeline: Pipeline,
    tables: Mapping[str, pd.DataFrame],
    columns: Sequence[Column],
) -> float:
    """Compare the predictions of both graphs and of the pipeline.

    They are compared on all rows of the tables, then on the same rows with every optional value
    missing, and with unknown categories.

    Returns:
        The largest relative difference between a graph and the pipeline.

    Raises:
        ReleaseError: The predictions for a row differ by more than PARITY_TOLERANCE, or at all
            between the graphs. The message names the row.
    """
    check = _ParityCheck(model, packed, pipeline)
    return max(
        check.compare(rows, f"{name}{case}", rows_before=number * ROWS_PER_BLOCK)
        for name, X in tables.items()
        for number, block in enumerate(_split_rows(X, ROWS_PER_BLOCK))
        for case, rows in _edge_cases(block, columns)
    )


@dataclass(frozen=True)
class _ParityCheck:
    """The three that must predict the same."""

    model: OnnxModel
    packed: OnnxModel
    pipeline: Pipeline

    def compare(self, X: pd.DataFrame, name: str, rows_before: int) -> float:
        """Return the largest relative difference in a block of rows, or raise a ReleaseError."""
        with limit_working_memory():
            expected = np.asarray(self.pipeline.predict(X), np.float64)
        actual = np.asarray(self.model.predict(X), np.float64)
        differences = [
            max_relative_difference(actual[row : row + 1], expected[row : row + 1])
            for row in range(len(X))
        ]
        worst = int(np.argmax(differences))
        if differences[worst] > PARITY_TOLERANCE:
            row = rows_before + worst + 1
            figures = f"{actual[worst]:.9g} instead of {expected[worst]:.9g}"
            raise ReleaseError(f"not released: row {row} of {name}: ONNX predicts {figures}")
        if not np.array_equal(actual, self.packed.predict(X)):
            raise ReleaseError(f"not released: the two ONNX graphs predict {name} differently")
        return differences[worst]


def _edge_cases(X: pd.DataFrame, columns: Sequence[Column]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows, and the same rows with values that live rows may have, and these may not."""
    yield "", X
    without_optional, with_unknown = X.copy(), X.copy()
    for column in columns:
        if not column.required:
            without_optional[column.name] = _all_missing(X[column.name])
        if column.role in {"text_category", "text_category_with_missing"}:
            with_unknown[column.name] = UNKNOWN_TEXT
        elif column.role == "numeric_category":
            with_unknown[column.name] = UNKNOWN_NUMBER
    yield " with every optional value missing", without_optional
    yield " with unknown categories", with_unknown


def _split_rows(X: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    """Yield the rows in blocks of a size; a table without rows is one block."""
    for start in range(0, max(len(X), 1), size):
        yield X.iloc[start : start + size]


def _all_missing(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.Series(
        np.nan, index=column.index, dtype="str" if is_text_column(column) else "float64"
    )


def _to_array(column: "pd.Series[Any]", onnx_type: str) -> NDArray[np.generic]:
    match onnx_type:
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
