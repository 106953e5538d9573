"""XGBoost: gradient boosted trees."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import local
from typing import TYPE_CHECKING, ClassVar

import joblib
import numpy as np
from xgboost import Booster, QuantileDMatrix, XGBRegressor, train

from training.data.features import Matrix, Vector
from training.families.base import Family, Fit, Regressor, WorkUnit
from training.params import Params, xgb_param_grid

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS = "n_estimators"
TREE_PARAMS = {
    ROUNDS,
    "colsample_bylevel",
    "colsample_bynode",
    "colsample_bytree",
    "gamma",
    "learning_rate",
    "max_delta_step",
    "max_depth",
    "max_leaves",
    "min_child_weight",
    "random_state",
    "reg_alpha",
    "reg_lambda",
    "subsample",
}
"""Parameters of the trees. Others may change how the rows are quantized, which is shared."""

ROUND_SECONDS = 0.0006
"""Of the estimate of a booster's cost: per round at depth 0; two more levels double it."""
MAX_LEVELS = 12
"""The depth up to which the estimate grows: in a deeper tree few nodes have rows left to split."""


class XGBoostFamily(Family):
    """xgboost's XGBRegressor.

    Combinations that differ only in `n_estimators` share one booster: the first 100 trees of 500
    are those of a booster of 100. One booster is fitted per core, on one thread: a booster with
    more threads slows down severely beside another busy process. Each thread quantizes the rows
    once for all of its boosters.
    """

    grid = xgb_param_grid
    scaled: ClassVar[bool] = False
    requirements = ("xgboost-cpu", "xgboost")
    trusted_types = ("xgboost.core.Booster", "xgboost.sklearn.XGBRegressor")

    def model(self, params: Params, seed: int) -> Regressor:
        """Return an unfitted XGBRegressor on one thread."""
        return _regressor(params, seed)

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        """Fit the longest booster of each group, and yield the group's fits from it."""
        # The slowest first, so that no core idles for long at the end.
        groups = sorted(_by_rounds(combinations), key=_estimate_cost, reverse=True)
        rows = _QuantizedRows(X, y)
        with ThreadPoolExecutor(joblib.cpu_count()) as executor:
            jobs = [executor.submit(_fit_group, group, rows, seed) for group in groups]
            for job in as_completed(jobs):
                yield from job.result()

    def work_units(self, combinations: Sequence[Params]) -> Sequence[WorkUnit]:
        """Return one unit per booster."""
        return [WorkUnit(group, _estimate_cost(group)) for group in _by_rounds(combinations)]

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Export a fitted XGBRegressor to ONNX."""
        from onnxmltools import convert_xgboost  # noqa: PLC0415 - slow to load
        from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

        types = [("X", FloatTensorType([None, columns]))]
        graph: ModelProto = convert_xgboost(model, initial_types=types)
        _add_base_score_to_first_tree(graph)
        return graph


class _QuantizedRows(local):
    """The rows, and a quantized copy of them per thread."""

    def __init__(self, X: Matrix, y: Vector) -> None:
        self.X, self.y = X, y
        self._matrix: QuantileDMatrix | None = None

    def matrix(self) -> QuantileDMatrix:
        """Return the matrix that XGBRegressor would create for each fit."""
        if self._matrix is None:
            self._matrix = QuantileDMatrix(self.X, self.y, nthread=1)
        return self._matrix


def _fit_group(group: Sequence[Params], rows: _QuantizedRows, seed: int) -> list[Fit]:
    """Fit the last of a group, which has the most rounds; the others are its first trees."""
    start = time.perf_counter()
    longest = group[-1]
    model = _regressor(longest, seed)
    if _n_rounds(longest) and set(longest) <= TREE_PARAMS:
        booster = train(model.get_xgb_params(), rows.matrix(), _n_rounds(longest))
    else:
        booster = model.fit(rows.X, rows.y).get_booster()
    fits = [(params, _first_trees(booster, params, seed)) for params in group]
    seconds = (time.perf_counter() - start) / len(group)
    return [Fit(params, model, seconds) for params, model in fits]


def _regressor(params: Params, seed: int) -> XGBRegressor:
    return XGBRegressor(**{"random_state": seed, "n_jobs": 1, **params})


def _add_base_score_to_first_tree(graph: "ModelProto") -> None:
    """Move the base score, at which all predictions start, into the first tree.

    xgboost adds the trees to it one by one, in float32; ONNX adds it to the sum of the trees. The
    rounding is the same only if the order is.
    """
    (ensemble,) = (node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble"))
    attributes = {attribute.name: attribute for attribute in ensemble.attribute}
    if base := attributes.get("base_values"):
        weights = np.array(attributes["target_weights"].floats, np.float32)
        weights[np.array(attributes["target_treeids"].ints) == 0] += np.float32(base.floats[0])
        attributes["target_weights"].floats[:] = weights
        ensemble.attribute.remove(base)


def _first_trees(booster: Booster, params: Params, seed: int) -> XGBRegressor:
    model = _regressor(params, seed)
    rounds = _n_rounds(params)
    model.load_model((booster[:rounds] if rounds else booster).save_raw("ubj"))
    return model


def _by_rounds(combinations: Sequence[Params]) -> list[list[Params]]:
    """Group combinations that differ only in their rounds, the fewest rounds first."""
    groups: dict[tuple[tuple[str, object], ...], list[Params]] = {}
    for params in combinations:
        shared = ROUNDS if _n_rounds(params) else ""
        rest = tuple(sorted((name, value) for name, value in params.items() if name != shared))
        groups.setdefault(rest, []).append(params)
    return [sorted(group, key=_n_rounds) for group in groups.values()]


def _n_rounds(params: Params) -> int:
    """Return the number of rounds; 0 if it is left to xgboost's default."""
    rounds = params.get(ROUNDS)
    return max(rounds, 0) if isinstance(rounds, int) else 0


def _estimate_cost(group: Sequence[Params]) -> float:
    """Return roughly the seconds that one core takes for a group on the Ames table.

    Measured for 500 rounds: 0.8 s at a depth of 3, 1.35 s at 5 and 3.2 s at 7.
    """
    depth = group[-1].get("max_depth")
    levels = min(depth or MAX_LEVELS, MAX_LEVELS) if isinstance(depth, int) else 6  # 0: no limit
    return float((_n_rounds(group[-1]) or 100) * 2 ** (levels / 2) * ROUND_SECONDS)
