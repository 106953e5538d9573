from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.serving.server import Server, build_release, running_server


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A release of a small xgboost model, and its training and validation rows."""
    folder = tmp_path_factory.mktemp("trees") / "release"
    return folder, build_release(folder, "xgboost")


@pytest.fixture(scope="module")
def server(released: tuple[Path, pd.DataFrame]) -> Iterator[Server]:
    with running_server(released[0]) as running:
        yield running


@pytest.fixture(scope="module")
def rows(released: tuple[Path, pd.DataFrame]) -> pd.DataFrame:
    return released[1]
