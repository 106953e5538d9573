"""Ask the endpoint for real rows, and compare its answers with what is known: `make smoke-test`.

Three things must hold: every prediction is a finite number, it is what the release itself predicts,
and the error over the rows is no larger than the release's test score lets expect.
"""

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import EndpointError
from contract.release import CHECK_FILE, MODEL_FILE, Manifest, Release
from contract.settings import Settings, load
from contract.store import ReleaseStore
from scripts.console import main, say
from scripts.targets import choose
from scripts.targets.base import Answer, Target

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20
TOLERANCE = 1e-5
"""By how much an answer may differ, relatively, from the release's own prediction."""
ALLOWANCE = 3.0
"""How many times the release's RMSE these few rows may have: one odd house among them is enough."""
DTYPES = {"long": "int64", "double": "float64", "boolean": "bool", "string": "str"}


class SmokeTestError(EndpointError):
    """The endpoint answers, and not as it should."""

    exit_code = 1


@dataclass(frozen=True)
class Row:
    """A row that was asked for."""

    name: str
    """Its id in the table, or its number."""
    prediction: float
    released: float
    """What the release itself predicts."""
    truth: float | None
    """The label; None where none is known."""


@dataclass(frozen=True)
class _Known:
    """What is known of the rows that are asked for."""

    source: str
    names: list[str]
    released: list[float]
    labels: list[float] | None


@dataclass(frozen=True)
class Report:
    """What came of it."""

    release: str
    digest: str
    source: str
    """Where the rows are from."""
    rows: Sequence[Row]
    rmse: float | None
    """Over these rows; None where no label is known."""
    allowed: float | None
    """The largest RMSE that is accepted."""


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send 20 real rows to the endpoint; fail if an answer is not what it should be.

    The exit code is 1 where an answer is wrong, and 2 where there is none.
    """
    settings = load()
    rows = f"the first {ROWS} rows of {settings.data.test}" if settings.data.test else "some rows"
    say(f"Asking {settings.serving.endpoint} for {rows}")
    report = ask(choose(settings, say), settings)
    if as_json:
        print(json.dumps(asdict(report), indent=2))
    else:
        show(report)
    judge(report)
    say(f"In order: {report.release} answers as it was released")


def ask(target: Target, settings: Settings) -> Report:
    """Ask a target's endpoint for the rows, and the release it names for the same.

    Raises:
        EndpointError: It doesn't answer, or with other than a prediction a row.
        ReleaseError: The release that answers isn't in the store as it was deployed.
        DataError: The test table can't be read.
    """
    store = ReleaseStore(settings.path(settings.release.store), settings.release.model)
    if not settings.data.test:
        return _ask_check_rows(target, settings, store)
    answer = target.invoke(_raw_rows(settings), content_type="text/csv")
    release = _release_of(answer, store)
    table, labels, names = _test_rows(settings, release.manifest)
    from training.proof import Graph  # noqa: PLC0415 - after the first line

    released = Graph(release.files[MODEL_FILE]).predict(table)
    return _report(release, answer, _Known(settings.data.test, names, released.tolist(), labels))


def judge(report: Report) -> None:
    """Raise a SmokeTestError for the first thing that is wrong."""
    for row in report.rows:
        if not math.isfinite(row.prediction):
            raise SmokeTestError(f"row {row.name}: the prediction is {row.prediction}")
        if not math.isclose(row.prediction, row.released, rel_tol=TOLERANCE):
            figures = f"{row.prediction:.9g}, where {report.release} predicts {row.released:.9g}"
            raise SmokeTestError(f"row {row.name}: the endpoint answers {figures}")
    if report.rmse is not None and report.allowed is not None and report.rmse > report.allowed:
        figures = f"{report.rmse:,.6g}, {ALLOWANCE:g} x its own score is {report.allowed:,.6g}"
        raise SmokeTestError(f"the error over the rows (RMSE) is too large: {figures}")


def show(report: Report) -> None:
    """Print a row's prediction, its true value, and how far apart they are."""
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    title = f"{report.release} (sha256 {report.digest[:12]}) on {report.source}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("row")
    for name in ("prediction", "true", "difference"):
        table.add_column(name, justify="right")
    for row in report.rows:
        apart = f"{row.prediction / row.truth - 1:+.1%}" if row.truth else ""
        truth = "" if row.truth is None else f"{row.truth:,.6g}"
        table.add_row(row.name, f"{row.prediction:,.6g}", truth, apart)
    console = Console(
        width=None if sys.stdout.isatty() else 110, highlight=False, markup=False, soft_wrap=True
    )
    console.print(table)
    if report.rmse is not None:
        console.print(
            f"RMSE over these rows {report.rmse:,.6g}; at most {report.allowed:,.6g} is allowed"
        )
    else:
        console.print("No label is known of these rows: the error over them was not looked at")


def _ask_check_rows(target: Target, settings: Settings, store: ReleaseStore) -> Report:
    """Use the validation rows in the release itself, where the settings name no test table."""
    live = target.status().live
    if live is None:
        raise EndpointError(f"{settings.serving.endpoint}: nothing is deployed")
    release = _fetch(store, live.version)
    known = json.loads(release.files[CHECK_FILE])
    rows = known["rows"][:ROWS]
    answer = target.invoke(json.dumps({"dataframe_records": rows}).encode())
    names = [str(number) for number in range(1, len(rows) + 1)]
    source = "its own validation rows (the settings name no test table)"
    expected = _Known(source, names, known["predictions"][:ROWS], None)
    return _report(_release_of(answer, store), answer, expected)


def _raw_rows(settings: Settings) -> bytes:
    """Return the first rows of the test table as CSV, as they stand there, without the label."""
    from training.tables import read_table  # noqa: PLC0415 - after the first line

    source = settings.path(settings.data.test)
    columns = list(map(str, read_table(source, settings.data.missing).rows))
    table = read_table(source, [], columns).rows.head(ROWS)
    sent = [name for name in columns if name not in {settings.data.label, settings.data.id}]
    return table[sent].to_csv(index=False).encode()


def _test_rows(
    settings: Settings, manifest: Manifest
) -> tuple["pd.DataFrame", list[float], list[str]]:
    """Return the same rows as the release takes them, their labels, and what to call them."""
    import pandas as pd  # noqa: PLC0415 - after the first line

    from training.data import Dataset, read_test  # noqa: PLC0415
    from training.tables import read_table  # noqa: PLC0415

    columns = {one.name: pd.Series(dtype=DTYPES[one.type]) for one in manifest.columns}
    source = f"{manifest.model} version {manifest.version}"
    like = Dataset(pd.DataFrame(columns), pd.Series(dtype="float64"), source, "")
    data = settings.data.model_copy(update={"missing": manifest.missing})
    test = read_test(settings.model_copy(update={"data": data}), like)
    if test is None:
        raise EndpointError("the settings name no test table")
    rows, labels = test.X.head(ROWS), test.y.head(ROWS).tolist()
    names = [str(number) for number in range(1, len(rows) + 1)]
    if data.id:
        table = read_table(settings.path(data.test), data.missing).rows
        names = [str(name) for name in table[data.id].head(ROWS)] if data.id in table else names
    return rows, labels, names


def _release_of(answer: Answer, store: ReleaseStore) -> Release:
    """Return the release that has answered, from the store."""
    version = answer.attributes.get("version", "")
    release = _fetch(store, version)
    if release.digest != answer.digest:
        stored = f"the store's version {version} is {release.digest[:12]}"
        raise SmokeTestError(f"sha256 {answer.digest[:12] or 'none'} answers, and {stored}")
    return release


def _fetch(store: ReleaseStore, version: str) -> Release:
    with tempfile.TemporaryDirectory() as scratch:
        return store.fetch(version, Path(scratch) / "release")


def _report(release: Release, answer: Answer, known: _Known) -> Report:
    predictions = _predictions(answer)
    if len(predictions) != len(known.released):
        counts = f"{len(predictions)} predictions for {len(known.released)} rows"
        raise SmokeTestError(f"the endpoint answers {counts}")
    truths: Sequence[float | None] = known.labels or [None] * len(predictions)
    rows = [Row(*one) for one in zip(known.names, predictions, known.released, truths, strict=True)]
    rmse = allowed = None
    if known.labels:
        errors = [one - truth for one, truth in zip(predictions, known.labels, strict=True)]
        rmse = math.sqrt(sum(error * error for error in errors) / len(errors))
        allowed = ALLOWANCE * (release.manifest.test or release.manifest.validation)["RMSE"]
    return Report(release.name, release.digest, known.source, rows, rmse, allowed)


def _predictions(answer: Answer) -> list[float]:
    try:
        # Null is how a number that is none may be written.
        given = json.loads(answer.body)["predictions"]
        return [math.nan if one is None else float(one) for one in given]
    except (ValueError, KeyError, TypeError):
        start = answer.body[:100].decode(errors="replace")
        raise SmokeTestError(f"the endpoint answers no predictions: {start}") from None


if __name__ == "__main__":
    main(command)
