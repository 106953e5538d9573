"""XGBoost: gradient boosted trees."""

import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import ClassVar

from xgboost import Booster, XGBRegressor
from xgboost.callback import TrainingCallback

from training.families.base import Family, Fit, Regressor
from training.features import Matrix, Vector
from training.params import Params, xgb_param_grid

ROUNDS = "n_estimators"


class XGBoostFamily(Family):
    """xgboost's XGBRegressor.

    Combinations that differ in their rounds alone share one booster: the first 100 trees of 500
    are those of a booster of 100. Each booster has one thread, and there is one for each core:
    more threads in a booster collapse beside another process.
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
    ) -> Generator[Fit]:
        """Fit the longest booster of each group, and yield the group once it is there."""
        stop = _Stop()
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            try:
                jobs = [
                    workers.submit(self._fit_group, group, X, y, seed, stop)
                    for group in _by_rounds(combinations)
                ]
                for job in as_completed(jobs):
                    yield from job.result()
            finally:
                # An interrupt or a failure: what runs ends with its round, what waits never starts.
                stop.asked.set()
                workers.shutdown(cancel_futures=True)

    def _fit_group(
        self, group: Sequence[Params], X: Matrix, y: Vector, seed: int, stop: "_Stop"
    ) -> list[Fit]:
        """Fit the last of a group, which has the most rounds; the others are its first trees."""
        start = time.perf_counter()
        booster = _regressor(group[-1], seed, callbacks=[stop]).fit(X, y).get_booster()
        seconds = (time.perf_counter() - start) / len(group)
        return [Fit(params, _first_trees(booster, params, seed), seconds) for params in group]


def _regressor(params: Params, seed: int, **more: object) -> XGBRegressor:
    return XGBRegressor(**{"random_state": seed, "n_jobs": 1, **more, **params})


def _first_trees(booster: Booster, params: Params, seed: int) -> XGBRegressor:
    model = _regressor(params, seed)
    rounds = params.get(ROUNDS)
    model.load_model((booster if rounds is None else booster[:rounds]).save_raw("ubj"))
    return model


class _Stop(TrainingCallback):
    """Ends boosters after the round that they are in."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Event()

    def after_iteration(self, model: Booster, epoch: int, evals_log: object) -> bool:
        """Tell xgboost whether to stop."""
        return self.asked.is_set()


def _by_rounds(combinations: Sequence[Params]) -> list[list[Params]]:
    """Group combinations that differ in their rounds alone, the fewest rounds first."""
    groups: dict[tuple[tuple[str, object], ...], list[Params]] = {}
    for params in combinations:
        rest = tuple(sorted((name, value) for name, value in params.items() if name != ROUNDS))
        groups.setdefault(rest, []).append(params)
    return [sorted(group, key=lambda params: params.get(ROUNDS) or 0) for group in groups.values()]
