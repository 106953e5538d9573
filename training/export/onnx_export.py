"""Exporting a fitted pipeline as one ONNX graph: raw columns in, one prediction per row out.

The features are exported here, step by step as `training.data.features` fitted them; the family
exports the model. A row costs little that way: the texts of all columns are looked up in one table,
in which a missing text is its mode already, and numbers are compared with the donors only in rows
with a missing number.

The graph has one one-dimensional input per column, under the column's name, or, packed, one input
for all columns of a type: int64 for integers without missing values in training, float for other
numbers, double for other numeric categories, bool, and string. A missing value is NaN,
`MISSING_INT64` in int64, and in text the empty string, "nan" or one of `data.missing_values`.
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
Kind = type[np.generic]
INPUTS: Mapping[str, Kind] = {
    "int64": np.int64,
    "float64": np.float32,
    "bool": np.bool_,
    "str": np.str_,
}
"""The inputs' types, by the columns'."""
PACKS: Mapping[Kind, str] = {
    np.int64: "long",
    np.float32: "double",
    np.float64: "category",
    np.bool_: "boolean",
    np.str_: "string",
}
"""The packed inputs' names, which are those of `Column.packed_input`."""


def export_onnx(
    pipeline: Pipeline,
    family: Family,
    X: pd.DataFrame,
    missing: Sequence[str],
    packed: bool = False,
) -> bytes:
    """Return the graph of a fitted pipeline.

    Args:
        pipeline: From raw rows to predictions: features, a scaler where there is one, the model.
        family: Draws the model.
        X: The raw columns, by name and type; its rows don't matter.
        missing: The texts that stand for a missing value.
        packed: Whether all columns of a type are one input (see `contract.release.PACKED_FILE`).
    """
    features: ColumnTransformer = pipeline.named_steps["features"]
    parts = {name: (step, columns) for name, step, columns in features.transformers_ if columns}
    codes = parts["numeric_category"][1] if "numeric_category" in parts else []
    kinds = {str(name): _kind(str(column.dtype), name in codes) for name, column in X.items()}
    inputs = _Packed(kinds) if packed else _Named(kinds)

    matrix = []
    if "numeric" in parts:
        step, columns = parts["numeric"]
        imputer = step.estimator.named_steps["impute"]
        numbers = _impute(_numbers(inputs, columns, np.float32), imputer)
        matrix.append(_scale(numbers, pipeline))
    if categorical := [name for name in CATEGORICAL_ROLES if name in parts]:
        table = CategoryLookup()
        for name in categorical:
            table.learn(*parts[name], missing)
        texts = [name for name, kind in kinds.items() if kind is np.str_]
        rows = [_code_texts(inputs, codes)] if codes else []
        rows += [inputs.stack(texts)] if texts else []
        matrix.append(table.encode(_concat(rows, axis=0), [*codes, *texts]))
    encoded = _concat(matrix, axis=1)
    width = len(features.get_feature_names_out())
    model = inline(family.to_onnx(pipeline.named_steps["model"], width))
    (answer,) = model(encoded).values()
    prediction = op.cast(op.reshape(answer, op.const([-1])), to=np.float32)
    graph: onnx.ModelProto = build(inputs.arguments, {PREDICTION: prediction})
    graph.ir_version = IR_VERSION
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString())


def _kind(dtype: str, is_code: bool) -> Kind:
    # float32 has no room for a long code; scikit-learn reads codes as float64, too.
    return np.float64 if is_code and dtype == "float64" else INPUTS[dtype]


class _Named:
    """An input a column."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self.arguments = {name: argument(Tensor(kind, ("rows",))) for name, kind in kinds.items()}

    def stack(self, names: Sequence[str]) -> Var:
        """Return columns x rows of columns of one type."""
        # One node puts them behind each other, and one folds that: one each would take longer.
        together = _concat([self.arguments[name] for name in names], axis=0)
        return op.reshape(together, op.const([len(names), -1]))


class _Packed:
    """An input for all columns of a type."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds
        self._columns: dict[Kind, list[str]] = {}
        for name, kind in kinds.items():
            self._columns.setdefault(kind, []).append(name)
        self.arguments = {
            PACKS[kind]: argument(Tensor(kind, (len(names), "rows")))
            for kind, names in self._columns.items()
        }

    def stack(self, names: Sequence[str]) -> Var:
        """Return columns x rows of columns of one type."""
        kind = self.kinds[names[0]]
        whole, columns = self.arguments[PACKS[kind]], self._columns[kind]
        if list(names) == columns:  # always so of text, which onnxruntime 1.32 gathers wrongly
            return whole
        return op.gather(whole, op.const([columns.index(name) for name in names]), axis=0)


_Inputs = _Named | _Packed


def _numbers(inputs: _Inputs, names: Sequence[str], kind: type[np.floating]) -> Var:
    """Put columns side by side as rows x columns of one type, NaN for what is missing."""
    by_type: dict[Kind, list[int]] = {}
    for position, name in enumerate(names):
        by_type.setdefault(inputs.kinds[name], []).append(position)
    stacked = []
    for dtype, positions in by_type.items():
        rows = inputs.stack([names[position] for position in positions])
        numbers = op.cast(rows, to=kind)
        if dtype is np.int64:
            gaps = op.equal(rows, op.const(np.int64(MISSING_INT64)))
            numbers = op.where(gaps, op.const(kind(np.nan)), numbers)
        stacked.append(numbers)
    order = np.argsort([position for positions in by_type.values() for position in positions])
    together = _concat(stacked, axis=0)
    if (order != np.arange(len(order))).any():
        together = op.gather(together, op.const(order), axis=0)
    return op.transpose(together, perm=[1, 0])


def _code_texts(inputs: _Inputs, columns: Sequence[str]) -> Var:
    """Return columns x rows of text, of which each is that of a number."""
    return op.cast(op.transpose(_numbers(inputs, columns, np.float64), perm=[1, 0]), to=np.str_)


def _concat(parts: Sequence[Var], axis: int) -> Var:
    return op.concat(parts, axis=axis) if len(parts) > 1 else parts[0]


class CategoryLookup:
    """Which column of the matrix each text of each raw column is the 1 in."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, int]] = {}
        """By column and text; below 0 there is no 1."""
        self._width = 0

    def learn(self, step: Pipeline, columns: Sequence[str], missing: Sequence[str]) -> None:
        """Take in the modes and categories that a step of the features has learned."""
        encoder = step.named_steps["onehot"]
        imputer = step.named_steps.get("impute")
        for position, (column, categories) in enumerate(
            zip(columns, encoder.categories_, strict=True)
        ):
            places = {_written(one): self._width + at for at, one in enumerate(categories)}
            instead = _written(imputer.statistics_[position]) if imputer else EMPTY_TEXT
            for blank in (EMPTY_TEXT, *NAN_TEXTS, *missing):
                if blank == EMPTY_TEXT or blank in missing or blank not in places:
                    places[blank] = places.get(instead, -1)
            self._places[column] = places
            self._width += len(categories)

    def encode(self, texts: Var, columns: Sequence[str]) -> Var:
        """Return rows x categories of 0 and 1, from columns x rows of text."""
        # Each text gets its column's number in front: one look-up for all, instead of one each.
        fronts = np.array([[f"{number}:"] for number in range(len(columns))])
        known = {
            f"{number}:{text}": at
            for number, column in enumerate(columns)
            for text, at in self._places[column].items()
            if at >= 0
        }
        places = ml.label_encoder(
            op.string_concat(op.const(fronts), texts),
            keys_strings=list(known),
            values_int64s=list(known.values()),
            default_int64=self._width,  # one column more, for what is unknown, is cut off again
        )
        at = op.transpose(places, perm=[1, 0])
        rows = op.shape(at, start=0, end=1)
        blank = op.constant_of_shape(op.concat([rows, op.const([self._width + 1])], axis=0))
        ones = op.constant_of_shape(op.shape(at), value=np.ones(1, np.float32))
        encoded = op.scatter_elements(blank, at, ones, axis=1)
        return op.slice(encoded, op.const([0]), op.const([self._width]), op.const([1]))


def _written(value: object) -> str:
    """Return a category as the graph writes it: a code is a float64."""
    return value if isinstance(value, str) else f"{value:.17g}"


def _scale(numbers: Var, pipeline: Pipeline) -> Var:
    if "scale" not in pipeline.named_steps:
        return numbers
    scaler = pipeline.named_steps["scale"].named_transformers_["numeric"]
    # In float32, as scikit-learn does: a better sum would be another one.
    centered = op.sub(numbers, op.const(scaler.mean_.astype(np.float32)))
    return op.div(centered, op.const(scaler.scale_.astype(np.float32)))


def _impute(numbers: Var, imputer: KNNImputer) -> Var:
    """Put the mean of the nearest donors where a number is missing, as KNNImputer does."""
    lacking = op.isnan(numbers)
    some = op.cast(lacking, to=np.uint8)
    any_row = op.cast(op.reduce_max(some, op.const([1]), keepdims=0), to=np.bool_)
    any_at_all = op.cast(op.reduce_max(some, keepdims=0), to=np.bool_)

    def filled() -> Iterable[Var]:
        rows = op.compress(numbers, any_row, axis=0)
        values = _neighbors(op.cast(rows, to=np.float64), imputer)
        whole = op.where(op.isnan(rows), op.cast(values, to=np.float32), rows)
        at = op.transpose(op.non_zero(any_row), perm=[1, 0])
        return [op.scatter_nd(numbers, at, whole)]

    (result,) = op.if_(any_at_all, then_branch=filled, else_branch=lambda: [op.identity(numbers)])
    return result


def _neighbors(rows: Var, imputer: KNNImputer) -> Var:
    """Return, for each number of each row, the mean of the nearest donors that have it.

    The squared distance over the numbers that both have, in the share of how many those are; see
    sklearn.metrics.pairwise.nan_euclidean_distances.
    """
    donors: NDArray[np.float64] = imputer._fit_X
    has = ~np.isnan(donors)
    known = np.where(has, donors, 0.0)
    # The column that ranks the donors is 0 in each row.
    whole = op.pad(rows, op.const([0, 0, 0, 1]))
    gaps = op.isnan(whole)
    values = op.where(gaps, op.const(0.0), whole)
    present = op.cast(op.not_(gaps), to=np.float64)

    squares = op.matmul(op.mul(values, values), op.const(has.T.astype(np.float64)))
    products = op.matmul(op.add(values, values), op.const(known.T.copy()))
    theirs = op.matmul(present, op.const((known**2).T.copy()))
    shared = op.matmul(present, op.const(has.T.astype(np.float64)))
    distances = op.div(op.add(op.sub(squares, products), theirs), shared)

    order: list[int] = []
    found: list[Var] = []
    for who, at in _by_donors(has[:, :-1]):
        nearest = _nearest(distances, who, min(imputer.n_neighbors, int(who.sum())))
        # rows x neighbors x columns
        of_them = op.gather(op.const(known[:, at]), nearest, axis=0)
        found.append(op.reduce_mean(of_them, op.const([1]), keepdims=0))
        order += at
    return op.gather(_concat(found, axis=1), op.const(np.argsort(order)), axis=1)


def _by_donors(has: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], list[int]]]:
    """Group columns in which the same donors have a number; most often all have one."""
    groups: dict[bytes, tuple[NDArray[np.bool_], list[int]]] = {}
    for at in range(has.shape[1]):
        who = has[:, at]
        groups.setdefault(who.tobytes(), (who, []))[1].append(at)
    return list(groups.values())


def _nearest(distances: Var, who: NDArray[np.bool_], count: int) -> Var:
    if not who.all():
        distances = op.add(distances, op.const(np.where(who, 0.0, np.inf)))
    _, nearest = op.top_k(distances, op.const([count]), largest=0, axis=1)
    return nearest
