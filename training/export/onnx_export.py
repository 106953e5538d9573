"""Export of a fitted pipeline as one ONNX graph: raw columns in, one prediction per row out.

The features are exported here, step by step as `training.data.features` fits them; the family
exports its model. That keeps a row cheap: the texts of all columns are looked up in one table, in
which a missing text is already replaced by its mode, and numbers are compared with the donors only
in rows with a missing number.

The graph has one one-dimensional input per column, under the column's name. If it is packed, it has
one input for all columns of a type: int64 for integers without missing values in training, float
for other numbers, double for other numeric categories, bool, and string. A missing value is NaN; in
int64, `MISSING_INT64`; in text, the empty string, "nan" or one of `data.missing_values`.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import pandas as pd
import spox.opset.ai.onnx.ml.v3 as ml
import spox.opset.ai.onnx.v20 as op
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import KNNImputer
from sklearn.pipeline import Pipeline
from spox import Tensor, Var, argument, build, inline

from contract.release import MISSING_INT64, PREDICTION
from training.data.features import CATEGORICAL_ROLES, EMPTY_TEXT, NAN_TEXTS
from training.families import Family

IR_VERSION = 10
ElementType = type[np.generic]
"""The type of a tensor's elements."""
INPUT_TYPES: Mapping[str, ElementType] = {
    "int64": np.int64,
    "float64": np.float32,
    "bool": np.bool_,
    "str": np.str_,
}
"""The types of the inputs, by the columns' dtypes."""
PACKED_INPUTS: Mapping[ElementType, str] = {
    np.int64: "long",
    np.float32: "double",
    np.float64: "category",
    np.bool_: "boolean",
    np.str_: "string",
}
"""The names of the packed inputs, which are those of `Column.packed_input`."""


def export_onnx(
    pipeline: Pipeline,
    family: Family,
    X: pd.DataFrame,
    missing_values: Sequence[str],
    packed: bool = False,
) -> bytes:
    """Return the graph of a fitted pipeline.

    Args:
        pipeline: From raw rows to predictions: features, a scaler if the family needs one, model.
        family: Exports the model.
        X: The raw columns, by name and type; the rows don't matter.
        missing_values: The texts that stand for a missing value.
        packed: Whether all columns of a type are one input (see `contract.release.PACKED_FILE`).
    """
    features: ColumnTransformer = pipeline.named_steps["features"]
    steps = {role: (step, columns) for role, step, columns in features.transformers_ if columns}
    numeric_categories = steps["numeric_category"][1] if "numeric_category" in steps else []
    input_types = {
        str(name): _input_type(str(column.dtype), name in numeric_categories)
        for name, column in X.items()
    }
    inputs = _PackedInputs(input_types) if packed else _ColumnInputs(input_types)

    blocks = []
    if "numeric" in steps:
        step, columns = steps["numeric"]
        imputer = step.estimator.named_steps["impute"]
        numbers = _impute(_numeric_matrix(inputs, columns, np.float32), imputer)
        blocks.append(_scale(numbers, pipeline))
    if categorical := [role for role in CATEGORICAL_ROLES if role in steps]:
        lookup = CategoryLookup()
        for role in categorical:
            lookup.add(*steps[role], missing_values)
        texts = [name for name, dtype in input_types.items() if dtype is np.str_]
        rows = [_numbers_as_text(inputs, numeric_categories)] if numeric_categories else []
        rows += [inputs.stack(texts)] if texts else []
        blocks.append(lookup.encode(_concat(rows, axis=0), [*numeric_categories, *texts]))
    matrix = _concat(blocks, axis=1)
    width = len(features.get_feature_names_out())
    model = inline(family.to_onnx(pipeline.named_steps["model"], width))
    (output,) = model(matrix).values()
    prediction = op.cast(op.reshape(output, op.const([-1])), to=np.float32)
    graph: onnx.ModelProto = build(inputs.arguments, {PREDICTION: prediction})
    graph.ir_version = IR_VERSION
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString())


def _input_type(dtype: str, is_category: bool) -> ElementType:
    # float32 can't represent a long number exactly; scikit-learn gets these columns as float64.
    return np.float64 if is_category and dtype == "float64" else INPUT_TYPES[dtype]


class _ColumnInputs:
    """One input per column."""

    def __init__(self, types: Mapping[str, ElementType]) -> None:
        self.types = types
        self.arguments = {name: argument(Tensor(dtype, ("rows",))) for name, dtype in types.items()}

    def stack(self, names: Sequence[str]) -> Var:
        """Return columns of one type as columns x rows."""
        # One node for all columns is faster than one per column: concatenate, then reshape.
        values = _concat([self.arguments[name] for name in names], axis=0)
        return op.reshape(values, op.const([len(names), -1]))


class _PackedInputs:
    """One input for all columns of a type."""

    def __init__(self, types: Mapping[str, ElementType]) -> None:
        self.types = types
        self._columns: dict[ElementType, list[str]] = {}
        for name, dtype in types.items():
            self._columns.setdefault(dtype, []).append(name)
        self.arguments = {
            PACKED_INPUTS[dtype]: argument(Tensor(dtype, (len(names), "rows")))
            for dtype, names in self._columns.items()
        }

    def stack(self, names: Sequence[str]) -> Var:
        """Return columns of one type as columns x rows."""
        dtype = self.types[names[0]]
        packed, columns = self.arguments[PACKED_INPUTS[dtype]], self._columns[dtype]
        if list(names) == columns:  # always true for text, which onnxruntime 1.32 gathers wrongly
            return packed
        return op.gather(packed, op.const([columns.index(name) for name in names]), axis=0)


_Inputs = _ColumnInputs | _PackedInputs


def _numeric_matrix(inputs: _Inputs, names: Sequence[str], dtype: type[np.floating]) -> Var:
    """Return columns as rows x columns of one type, with NaN for missing values."""
    by_type: dict[ElementType, list[int]] = {}
    for position, name in enumerate(names):
        by_type.setdefault(inputs.types[name], []).append(position)
    stacks = []
    for input_type, positions in by_type.items():
        values = inputs.stack([names[position] for position in positions])
        numbers = op.cast(values, to=dtype)
        if input_type is np.int64:
            is_missing = op.equal(values, op.const(np.int64(MISSING_INT64)))
            numbers = op.where(is_missing, op.const(dtype(np.nan)), numbers)
        stacks.append(numbers)
    order = np.argsort([position for positions in by_type.values() for position in positions])
    matrix = _concat(stacks, axis=0)
    if (order != np.arange(len(order))).any():
        matrix = op.gather(matrix, op.const(order), axis=0)
    return op.transpose(matrix, perm=[1, 0])


def _numbers_as_text(inputs: _Inputs, names: Sequence[str]) -> Var:
    """Return numeric columns as columns x rows of text."""
    numbers = _numeric_matrix(inputs, names, np.float64)
    return op.cast(op.transpose(numbers, perm=[1, 0]), to=np.str_)


def _concat(values: Sequence[Var], axis: int) -> Var:
    return op.concat(values, axis=axis) if len(values) > 1 else values[0]


class CategoryLookup:
    """The one-hot encoding of all categorical columns: from each text to its matrix column."""

    def __init__(self) -> None:
        self._positions: dict[str, dict[str, int]] = {}
        """Matrix columns, by raw column and text; negative for a text that is all zeros."""
        self._width = 0

    def add(self, step: Pipeline, columns: Sequence[str], missing_values: Sequence[str]) -> None:
        """Add the modes and categories of a fitted step of the features."""
        encoder = step.named_steps["onehot"]
        imputer = step.named_steps.get("impute")
        for number, (column, categories) in enumerate(
            zip(columns, encoder.categories_, strict=True)
        ):
            positions = {
                _category_text(category): self._width + offset
                for offset, category in enumerate(categories)
            }
            mode = _category_text(imputer.statistics_[number]) if imputer else EMPTY_TEXT
            for text in (EMPTY_TEXT, *NAN_TEXTS, *missing_values):
                if text == EMPTY_TEXT or text in missing_values or text not in positions:
                    positions[text] = positions.get(mode, -1)
            self._positions[column] = positions
            self._width += len(categories)

    def encode(self, texts: Var, columns: Sequence[str]) -> Var:
        """Return rows x categories of 0 and 1, from columns x rows of text."""
        # Each text is prefixed by its column's number: one lookup for all columns, not one each.
        prefixes = np.array([[f"{number}:"] for number in range(len(columns))])
        known = {
            f"{number}:{text}": position
            for number, column in enumerate(columns)
            for text, position in self._positions[column].items()
            if position >= 0
        }
        positions = ml.label_encoder(
            op.string_concat(op.const(prefixes), texts),
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=self._width,  # an additional column for unknown texts, removed below
        )
        positions = op.transpose(positions, perm=[1, 0])
        rows = op.shape(positions, start=0, end=1)
        zeros = op.constant_of_shape(op.concat([rows, op.const([self._width + 1])], axis=0))
        ones = op.constant_of_shape(op.shape(positions), value=np.ones(1, np.float32))
        encoded = op.scatter_elements(zeros, positions, ones, axis=1)
        return op.slice(encoded, op.const([0]), op.const([self._width]), op.const([1]))


def _category_text(category: object) -> str:
    """Return a category as the graph converts it to text: a number is a float64."""
    return category if isinstance(category, str) else f"{category:.17g}"


def _scale(numbers: Var, pipeline: Pipeline) -> Var:
    if "scale" not in pipeline.named_steps:
        return numbers
    scaler = pipeline.named_steps["scale"].named_transformers_["numeric"]
    # In float32, as scikit-learn does: a more exact result would be a different one.
    centered = op.sub(numbers, op.const(scaler.mean_.astype(np.float32)))
    return op.div(centered, op.const(scaler.scale_.astype(np.float32)))


def _impute(numbers: Var, imputer: KNNImputer) -> Var:
    """Replace missing numbers by the mean of the nearest donors, as KNNImputer does."""
    is_missing = op.cast(op.isnan(numbers), to=np.uint8)
    incomplete = op.cast(op.reduce_max(is_missing, op.const([1]), keepdims=0), to=np.bool_)
    any_incomplete = op.cast(op.reduce_max(is_missing, keepdims=0), to=np.bool_)

    def impute_incomplete_rows() -> Iterable[Var]:
        rows = op.compress(numbers, incomplete, axis=0)
        means = _neighbor_means(op.cast(rows, to=np.float64), imputer)
        imputed = op.where(op.isnan(rows), op.cast(means, to=np.float32), rows)
        positions = op.transpose(op.non_zero(incomplete), perm=[1, 0])
        return [op.scatter_nd(numbers, positions, imputed)]

    (result,) = op.if_(
        any_incomplete,
        then_branch=impute_incomplete_rows,
        else_branch=lambda: [op.identity(numbers)],
    )
    return result


def _neighbor_means(rows: Var, imputer: KNNImputer) -> Var:
    """Return, for each number of each row, the mean of its nearest donors that have the number.

    The distance is the squared difference over the numbers that row and donor both have, divided by
    how many those are; see sklearn.metrics.pairwise.nan_euclidean_distances.
    """
    donors: NDArray[np.float64] = imputer._fit_X
    has_value = ~np.isnan(donors)
    values = np.where(has_value, donors, 0.0)
    # The donors have one more column, their rank; it is 0 in each row.
    padded = op.pad(rows, op.const([0, 0, 0, 1]))
    is_missing = op.isnan(padded)
    row_values = op.where(is_missing, op.const(0.0), padded)
    row_has_value = op.cast(op.not_(is_missing), to=np.float64)

    squares = op.matmul(op.mul(row_values, row_values), op.const(has_value.T.astype(np.float64)))
    products = op.matmul(op.add(row_values, row_values), op.const(values.T.copy()))
    donor_squares = op.matmul(row_has_value, op.const((values**2).T.copy()))
    shared = op.matmul(row_has_value, op.const(has_value.T.astype(np.float64)))
    distances = op.div(op.add(op.sub(squares, products), donor_squares), shared)

    order: list[int] = []
    means: list[Var] = []
    for candidates, columns in _group_by_candidates(has_value[:, :-1]):
        count = min(imputer.n_neighbors, int(candidates.sum()))
        nearest = _nearest(distances, candidates, count)
        # rows x neighbors x columns
        neighbors = op.gather(op.const(values[:, columns]), nearest, axis=0)
        means.append(op.reduce_mean(neighbors, op.const([1]), keepdims=0))
        order += columns
    return op.gather(_concat(means, axis=1), op.const(np.argsort(order)), axis=1)


def _group_by_candidates(
    has_value: NDArray[np.bool_],
) -> list[tuple[NDArray[np.bool_], list[int]]]:
    """Group columns in which the same donors have a value; in most tables one group has most."""
    groups: dict[bytes, tuple[NDArray[np.bool_], list[int]]] = {}
    for column in range(has_value.shape[1]):
        candidates = has_value[:, column]
        groups.setdefault(candidates.tobytes(), (candidates, []))[1].append(column)
    return list(groups.values())


def _nearest(distances: Var, candidates: NDArray[np.bool_], count: int) -> Var:
    if not candidates.all():
        distances = op.add(distances, op.const(np.where(candidates, 0.0, np.inf)))
    _, nearest = op.top_k(distances, op.const([count]), largest=0, axis=1)
    return nearest
