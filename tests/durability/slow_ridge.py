"""Ridge with fits as long as a test wants: a host that is in a long fit."""

import os
import time
from collections.abc import Iterator, Sequence

from training.data.features import Matrix, Vector
from training.families import Fit
from training.families.ridge import RidgeFamily
from training.family_registry import FAMILIES
from training.params import Params

SECONDS = "SLOW_FIT_SECONDS"
"""The environment variable with the seconds; without it this is Ridge."""


class SlowRidgeFamily(RidgeFamily):
    """Waits before the first fit."""

    def fit_grid(
        self, combinations: Sequence[Params], X: Matrix, y: Vector, seed: int
    ) -> Iterator[Fit]:
        if combinations:
            time.sleep(float(os.environ.get(SECONDS, "0")))
        yield from super().fit_grid(combinations, X, y, seed)


def replace_ridge() -> None:
    """Let settings that name Ridge use this family; its results are the same."""
    FAMILIES["ridge"] = f"{__name__}:{SlowRidgeFamily.__name__}"
