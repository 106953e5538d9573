"""The smoke test: real rows sent to an endpoint, and its predictions compared with what is known.

Three things must hold: every prediction is a finite number, it is what the release itself predicts,
and the error over the rows is no larger than the release's own metrics let expect.
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
from endpoints.target import InvocationResponse, Target

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20
RMSE_FACTOR = 3.0
"""How many times the release's RMSE these few rows may have: one odd house among them is enough."""


class SmokeTestError(EndpointError):
    """The endpoint answers, but not as it should."""

    exit_code = 1


@dataclass(frozen=True)
class SmokeTestRow:
    """A row that was sent."""

    name: str
    """Its id in the table, or its number."""
    prediction: float
    expected: float
    """What the release itself predicts."""
    label: float | None
    """The true value; None where none is known."""


@dataclass(frozen=True)
class SmokeTestReport:
    """The result of a smoke test."""

    release: str
    digest: str
    source: str
    """Where the rows are from."""
    rows: Sequence[SmokeTestRow]
    rmse: float | None
    """Over these rows; None where no label is known."""
    rmse_limit: float | None
    """The largest RMSE that is accepted."""


@dataclass(frozen=True)
class _Expectation:
    """What is known of the rows before they are sent."""

    source: str
    names: list[str]
    predictions: list[float]
    labels: list[float] | None


def run_smoke_test(target: Target, settings: Settings) -> SmokeTestReport:
    """Send rows to a target's endpoint, and predict the same rows with the release that answers.

    Raises:
        EndpointError: It doesn't answer, or with other than one prediction per row.
        ReleaseError: The release that answers isn't in the store as it was deployed.
        DataError: The test table can't be used.
    """
    store = ReleaseStore(settings.resolve_path(settings.release.store), settings.release.model)
    if not settings.data.test:
        return _send_check_rows(target, settings, store)
    response = target.invoke(_raw_rows(settings), content_type="text/csv")
    release = _load_answering_release(response, store)
    table, labels, names = _test_rows(settings, release.manifest)
    from training.export.parity import OnnxModel  # noqa: PLC0415 - slow to load

    predictions = OnnxModel(release.files[MODEL_FILE]).predict(table).tolist()
    return _report(release, response, _Expectation(settings.data.test, names, predictions, labels))


def check_report(report: SmokeTestReport) -> None:
    """Raise a SmokeTestError for the first thing that is wrong."""
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
    """Use the validation rows in the release itself, where the settings name no test table."""
    live = target.status().live
    if live is None:
        raise EndpointError(f"{settings.serving.endpoint}: nothing is deployed")
    release = _download(store, live.version)
    known = json.loads(release.files[CHECK_FILE])
    rows = known["rows"][:ROWS]
    response = target.invoke(json.dumps({"dataframe_records": rows}).encode())
    names = [str(number) for number in range(1, len(rows) + 1)]
    source = "its own validation rows (the settings name no test table)"
    expectation = _Expectation(source, names, known["predictions"][:ROWS], None)
    return _report(_load_answering_release(response, store), response, expectation)


def _raw_rows(settings: Settings) -> bytes:
    """Return the first rows of the test table as CSV, as they are there, without the label."""
    from training.data.tables import read_table  # noqa: PLC0415 - slow to load

    source = settings.resolve_path(settings.data.test)
    columns = list(map(str, read_table(source, settings.data.missing_values).rows))
    table = read_table(source, [], columns).rows.head(ROWS)
    sent = [name for name in columns if name not in {settings.data.label, settings.data.id}]
    return table[sent].to_csv(index=False).encode()


def _test_rows(
    settings: Settings, manifest: Manifest
) -> tuple["pd.DataFrame", list[float], list[str]]:
    """Return the same rows as the release takes them, their labels, and their names."""
    import pandas as pd  # noqa: PLC0415 - slow to load

    from training.data.dataset import Dataset, read_test  # noqa: PLC0415
    from training.data.tables import PANDAS_DTYPES, read_table  # noqa: PLC0415

    columns = {one.name: pd.Series(dtype=PANDAS_DTYPES[one.type]) for one in manifest.columns}
    source = f"{manifest.model} version {manifest.version}"
    training = Dataset(pd.DataFrame(columns), pd.Series(dtype="float64"), source, "")
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


def _load_answering_release(response: InvocationResponse, store: ReleaseStore) -> Release:
    """Return the release that has answered, from the store."""
    version = response.attributes.get("version", "")
    release = _download(store, version)
    if release.digest != response.digest:
        stored = f"the store's version {version} is {release.digest[:12]}"
        raise SmokeTestError(f"sha256 {response.digest[:12] or 'none'} answers, but {stored}")
    return release


def _download(store: ReleaseStore, version: str) -> Release:
    with tempfile.TemporaryDirectory() as scratch:
        return store.download(version, Path(scratch) / "release")


def _report(release: Release, response: InvocationResponse, known: _Expectation) -> SmokeTestReport:
    predictions = _parse_predictions(response)
    if len(predictions) != len(known.predictions):
        counts = f"{len(predictions)} predictions for {len(known.predictions)} rows"
        raise SmokeTestError(f"the endpoint returns {counts}")
    labels: Sequence[float | None] = known.labels or [None] * len(predictions)
    columns = (known.names, predictions, known.predictions, labels)
    rows = [SmokeTestRow(*row) for row in zip(*columns, strict=True)]
    rmse = limit = None
    if known.labels:
        errors = [one - label for one, label in zip(predictions, known.labels, strict=True)]
        rmse = math.sqrt(sum(error * error for error in errors) / len(errors))
        metrics = release.manifest.test_metrics or release.manifest.validation_metrics
        limit = RMSE_FACTOR * metrics["RMSE"]
    return SmokeTestReport(release.name, release.digest, known.source, rows, rmse, limit)


def _parse_predictions(response: InvocationResponse) -> list[float]:
    try:
        # Null is how a number that is none may be written.
        given = json.loads(response.body)["predictions"]
        return [math.nan if one is None else float(one) for one in given]
    except (ValueError, KeyError, TypeError):
        start = response.body[:100].decode(errors="replace")
        raise SmokeTestError(f"the endpoint returns no predictions: {start}") from None
