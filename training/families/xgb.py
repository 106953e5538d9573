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
from training.families.base import Family, Fit, Regressor
from training.params import Params, xgb_param_grid

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS = "n_estimators"
OF_TREES = {
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
"""Parameters that say how trees grow; others may say how the rows are prepared for that."""


class XGBoostFamily(Family):
    """xgboost's XGBRegressor.

    Combinations that differ in their rounds alone share one booster: the first 100 trees of 500
    are those of a booster of 100. Each booster has one thread, and there is one for each core:
    more threads in a booster collapse beside another process. The boosters of a core share its
    quantised rows.
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
        """Fit the longest booster of each group, and yield the group once it is there."""
        # The largest first: at the end no core waits long for another's last one.
        groups = sorted(_by_rounds(combinations), key=_size, reverse=True)
        rows = _Rows(X, y)
        with ThreadPoolExecutor(joblib.cpu_count()) as workers:
            jobs = [workers.submit(_fit_group, group, rows, seed) for group in groups]
            for job in as_completed(jobs):
                yield from job.result()

    def to_onnx(self, model: Regressor, columns: int) -> "ModelProto":
        """Return a fitted XGBRegressor as an ONNX graph."""
        from onnxmltools import convert_xgboost  # noqa: PLC0415 - slow to load
        from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

        types = [("X", FloatTensorType([None, columns]))]
        graph: ModelProto = convert_xgboost(model, initial_types=types)
        _add_base_first(graph)
        return graph


class _Rows(local):
    """The rows, and each thread's own quantised form of them."""

    def __init__(self, X: Matrix, y: Vector) -> None:
        self.X, self.y = X, y
        self._quantised: QuantileDMatrix | None = None

    def quantised(self) -> QuantileDMatrix:
        """Return what XGBRegressor makes of the rows for each fit."""
        if self._quantised is None:
            self._quantised = QuantileDMatrix(self.X, self.y, nthread=1)
        return self._quantised


def _fit_group(group: Sequence[Params], rows: _Rows, seed: int) -> list[Fit]:
    """Fit the last of a group, which has the most rounds; the others are its first trees."""
    start = time.perf_counter()
    longest = group[-1]
    model = _regressor(longest, seed)
    if _rounds(longest) and set(longest) <= OF_TREES:
        booster = train(model.get_xgb_params(), rows.quantised(), _rounds(longest))
    else:
        booster = model.fit(rows.X, rows.y).get_booster()
    fits = [(params, _first_trees(booster, params, seed)) for params in group]
    seconds = (time.perf_counter() - start) / len(group)
    return [Fit(params, model, seconds) for params, model in fits]


def _regressor(params: Params, seed: int) -> XGBRegressor:
    return XGBRegressor(**{"random_state": seed, "n_jobs": 1, **params})


def _add_base_first(graph: "ModelProto") -> None:
    """Move what all predictions start from into the first tree.

    xgboost adds the trees to it one by one, in float32; ONNX adds it to the trees' sum. The many
    roundings in between are the same ones only if the order is.
    """
    (ensemble,) = (node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble"))
    known = {attribute.name: attribute for attribute in ensemble.attribute}
    if base := known.get("base_values"):
        weights = np.array(known["target_weights"].floats, np.float32)
        weights[np.array(known["target_treeids"].ints) == 0] += np.float32(base.floats[0])
        known["target_weights"].floats[:] = weights
        ensemble.attribute.remove(base)


def _first_trees(booster: Booster, params: Params, seed: int) -> XGBRegressor:
    model = _regressor(params, seed)
    rounds = _rounds(params)
    model.load_model((booster[:rounds] if rounds else booster).save_raw("ubj"))
    return model


def _by_rounds(combinations: Sequence[Params]) -> list[list[Params]]:
    """Group combinations that differ in their rounds alone, the fewest rounds first."""
    groups: dict[tuple[tuple[str, object], ...], list[Params]] = {}
    for params in combinations:
        shared = ROUNDS if _rounds(params) else ""
        rest = tuple(sorted((name, value) for name, value in params.items() if name != shared))
        groups.setdefault(rest, []).append(params)
    return [sorted(group, key=_rounds) for group in groups.values()]


def _rounds(params: Params) -> int:
    """Return how many trees are asked for; 0 where that is left to xgboost."""
    rounds = params.get(ROUNDS)
    return max(rounds, 0) if isinstance(rounds, int) else 0


def _size(group: Sequence[Params]) -> float:
    """Guess how long a group takes, in comparison with others."""
    depth = group[-1].get("max_depth")
    return (_rounds(group[-1]) or 100) * (depth if isinstance(depth, int) else 6)
