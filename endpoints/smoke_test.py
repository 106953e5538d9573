"""The smoke test: send real rows to an endpoint, and check its predictions.

It passes if every prediction is a finite number, matches what the release itself predicts, and the
RMSE of the rows is within a limit that is derived from the release's own metrics.
"""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contract.errors import EndpointError
from contract.release import CHECK_FILE, MODEL_FILE, PARITY_TOLERANCE, Manifest, Release
from contract.release_store import ReleaseStore
from contract.settings.loader import Settings
from endpoints.client import rows_to_json
from endpoints.target import InvocationResponse, Target

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20
RMSE_FACTOR = 3.0
"""The limit of the RMSE, as a multiple of the release's: one outlier in 20 rows raises the RMSE."""


class SmokeTestError(EndpointError):
    """The endpoint responds, but its predictions are wrong."""

    exit_code = 1


@dataclass(frozen=True)
class SmokeTestRow:
    """A row that was sent, and its prediction."""

    name: str
    """The row's id in the table, or its number."""
    prediction: float
    expected: float
    """The prediction of the release itself."""
    label: float | None
    """The true value; None if there is no label."""


@dataclass(frozen=True)
class SmokeTestReport:
    """The result of a smoke test."""

    release: str
    """The name of the release that responded."""
    digest: str
    """SHA-256 of its manifest, in hex."""
    source: str
    """The table that the rows are from."""
    rows: Sequence[SmokeTestRow]
    rmse: float | None
    """The RMSE of these rows; None if they have no labels."""
    rmse_limit: float | None
    """The largest RMSE that passes; None if the rows have no labels."""


@dataclass(frozen=True)
class _Expectation:
    """The expected predictions of the rows, and their labels."""

    source: str
    names: list[str]
    predictions: list[float]
    labels: list[float] | None


def run_smoke_test(target: Target, settings: Settings) -> SmokeTestReport:
    """Send rows to a target's endpoint, and predict them with the release that responds.

    Args:
        target: The target of the endpoint.
        settings: Name the test table and the release store. Without a test table, the check rows of
            the live release are sent.

    Returns:
        The predictions of the endpoint and of the release; `check_report` checks them.

    Raises:
        EndpointError: The endpoint does not respond, or not with one prediction per row.
        ReleaseError: The release that responds is missing from the store, or was changed there.
        DataError: The test table is invalid.
    """
    store = ReleaseStore(settings.resolve_path(settings.release.store), settings.release.model)
    if not settings.data.test:
        return _send_check_rows(target, settings, store)
    response = target.invoke(_raw_rows(settings), content_type="text/csv")
    release = _load_release(response, store)
    table, labels, names = _test_rows(settings, release.manifest)
    from training.export.parity import OnnxModel  # noqa: PLC0415 - slow to load

    predictions = OnnxModel(release.files[MODEL_FILE]).predict(table).tolist()
    expected = _Expectation(settings.data.test, names, predictions, labels)
    return _create_report(release, response, expected)


def check_report(report: SmokeTestReport) -> None:
    """Check the predictions of a smoke test.

    Raises:
        SmokeTestError: A prediction is not finite or differs from the release's, or the RMSE
            exceeds its limit. The message describes the first of them.
    """
    for row in report.rows:
        if not math.isfinite(row.prediction):
            raise SmokeTestError(f"row {row.name}: the prediction is {row.prediction}")
        if not math.isclose(row.prediction, row.expected, rel_tol=PARITY_TOLERANCE):
            figures = f"{row.prediction:.9g}, where {report.release} predicts {row.expected:.9g}"
            raise SmokeTestError(f"row {row.name}: the endpoint predicts {figures}")
    if (
        report.rmse is not None
        and report.rmse_limit is not None
        and report.rmse > report.rmse_limit
    ):
        limit = f"{report.rmse_limit:,.6g}, {RMSE_FACTOR:g} times the release's own"
        raise SmokeTestError(f"the RMSE of these rows is {report.rmse:,.6g}; the limit is {limit}")


def _send_check_rows(target: Target, settings: Settings, store: ReleaseStore) -> SmokeTestReport:
    """Send the live release's check rows, which are validation rows without labels."""
    live = target.status().live
    if live is None:
        raise EndpointError(
            f"{settings.serving.endpoint}: nothing is deployed; run make deploy-endpoint"
        )
    release = _download(store, live.version)
    check = json.loads(release.files[CHECK_FILE])
    rows = check["rows"][:ROWS]
    response = target.invoke(rows_to_json(rows))
    names = [str(number) for number in range(1, len(rows) + 1)]
    source = "its own validation rows (the settings name no test table)"
    expected = _Expectation(source, names, check["predictions"][:ROWS], None)
    return _create_report(_load_release(response, store), response, expected)


def _raw_rows(settings: Settings) -> bytes:
    """Return the first rows of the test table as CSV, unchanged, without the label and the id."""
    from training.data.tables import read_table  # noqa: PLC0415 - slow to load

    source = settings.resolve_path(settings.data.test)
    columns = list(map(str, read_table(source, settings.data.missing_values).rows))
    table = read_table(source, [], columns).rows.head(ROWS)
    features = [name for name in columns if name not in {settings.data.label, settings.data.id}]
    return table[features].to_csv(index=False).encode()


def _test_rows(
    settings: Settings, manifest: Manifest
) -> tuple["pd.DataFrame", list[float], list[str]]:
    """Return the same rows in the types of the release's columns, their labels, and their names."""
    import pandas as pd  # noqa: PLC0415 - slow to load

    from training.data.dataset import Dataset, read_test  # noqa: PLC0415
    from training.data.tables import PANDAS_DTYPES, read_table  # noqa: PLC0415

    columns = {
        column.name: pd.Series(dtype=PANDAS_DTYPES[column.type]) for column in manifest.columns
    }
    source = f"{manifest.model} version {manifest.version}"
    training = Dataset(pd.DataFrame(columns), pd.Series(dtype="float64"), source, "", 0)
    data = settings.data.model_copy(update={"missing_values": manifest.missing_values})
    test = read_test(settings.model_copy(update={"data": data}), training)
    if test is None:
        raise EndpointError("the settings name no test table")
    rows, labels = test.X.head(ROWS), test.y.head(ROWS).tolist()
    names = [str(number) for number in range(1, len(rows) + 1)]
    if data.id:
        table = read_table(settings.resolve_path(data.test), data.missing_values).rows
        names = [str(name) for name in table[data.id].head(ROWS)] if data.id in table else names
    return rows, labels, names


def _load_release(response: InvocationResponse, store: ReleaseStore) -> Release:
    """Load the release that responded from the store."""
    version = response.attributes.get("version", "")
    release = _download(store, version)
    if release.digest != response.digest:
        stored = f"version {version} in the store has sha256 {release.digest[:12]}"
        raise SmokeTestError(f"sha256 {response.digest[:12] or 'none'} responded, but {stored}")
    return release


def _download(store: ReleaseStore, version: str) -> Release:
    with tempfile.TemporaryDirectory() as scratch:
        return store.download(version, Path(scratch) / "release")


def _create_report(
    release: Release, response: InvocationResponse, expected: _Expectation
) -> SmokeTestReport:
    predictions = _parse_predictions(response)
    if len(predictions) != len(expected.predictions):
        counts = f"{len(predictions)} predictions for {len(expected.predictions)} rows"
        raise SmokeTestError(f"the endpoint returns {counts}")
    labels: Sequence[float | None] = expected.labels or [None] * len(predictions)
    columns = (expected.names, predictions, expected.predictions, labels)
    rows = [SmokeTestRow(*row) for row in zip(*columns, strict=True)]
    rmse = limit = None
    if expected.labels:
        pairs = zip(predictions, expected.labels, strict=True)
        errors = [prediction - label for prediction, label in pairs]
        rmse = math.sqrt(sum(error * error for error in errors) / len(errors))
        metrics = release.manifest.test_metrics or release.manifest.validation_metrics
        limit = RMSE_FACTOR * metrics["RMSE"]
    return SmokeTestReport(release.name, release.digest, expected.source, rows, rmse, limit)


def _parse_predictions(response: InvocationResponse) -> list[float]:
    try:
        # JSON has no NaN: a server may write null instead.
        predictions = json.loads(response.body)["predictions"]
        return [math.nan if prediction is None else float(prediction) for prediction in predictions]
    except (ValueError, KeyError, TypeError):
        start = response.body[:100].decode(errors="replace")
        raise SmokeTestError(f"the endpoint returns no predictions: {start}") from None
