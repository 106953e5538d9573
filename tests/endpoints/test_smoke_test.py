"""`make smoke-test`: real rows through boto3, and the three things that it fails for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.errors import EndpointError
from contract.release_store import ReleaseStore
from contract.settings.loader import load_settings
from endpoints.local import LocalTarget
from endpoints.smoke_test import SmokeTestError, check_report, run_smoke_test
from endpoints.target import JSON, InvocationResponse
from tests.endpoints.helpers import Place, rewrite
from tests.helpers import run, write_settings


class Altered(LocalTarget):
    """The endpoint, with other predictions on the way back."""

    def __init__(self, place: Place, alter: Any) -> None:
        super().__init__(place.settings, print)
        self._alter = alter

    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        answer = super().invoke(body, content_type, accept)
        predictions = json.loads(answer.body)["predictions"]
        self._alter(predictions)
        return replace(answer, body=json.dumps({"predictions": predictions}).encode())


@pytest.fixture
def live(place: Place) -> Place:
    place.target.deploy()
    return place


def settings_of(place: Place, **data: str) -> None:
    serving = {"port": place.port, "workers": 1}
    release = {"store": place.settings.release.store}
    place.settings = load_settings(
        write_settings(place.root, data=data, serving=serving, release=release)
    )


def test_real_rows_are_answered_as_released(live: Place) -> None:
    done = run("scripts.test", folder=live.root)
    as_json = run("scripts.test", "--json", folder=live.root)

    assert done.returncode == as_json.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "Asking prod-endpoint for the first 20 rows of test.csv",
        "In order: house-prices version 1 answers as it was released",
    ]
    assert "  1466 " in done.stdout  # by the id that the table has
    assert "RMSE over these rows" in done.stdout
    report = json.loads(as_json.stdout)
    assert len(report["rows"]) == 20
    assert report["rows"][0]["name"] == "1466"
    assert report["rows"][0]["truth"] == 142000
    assert 0 < report["rmse"] <= report["allowed"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "row 1468: the prediction is nan"),
        (None, "row 1468: the prediction is nan"),
        (float("inf"), "row 1468: the prediction is inf"),
        (123.0, "row 1468: the endpoint answers 123, where house-prices version 1 predicts "),
    ],
)
def test_a_wrong_prediction_fails(live: Place, value: float | None, reason: str) -> None:
    def alter(predictions: list[float | None]) -> None:
        predictions[2] = value

    with pytest.raises(SmokeTestError) as error:
        check_report(run_smoke_test(Altered(live, alter), live.settings))

    assert str(error.value).startswith(reason)
    assert error.value.exit_code == 1


def test_answers_for_other_than_all_rows_fail(live: Place) -> None:
    with pytest.raises(SmokeTestError, match="answers 19 predictions for 20 rows"):
        run_smoke_test(Altered(live, list.pop), live.settings)


def test_an_error_beyond_the_releases_own_fails(live: Place) -> None:
    prices = (live.root / "test_prices.csv").read_text().splitlines()
    wrong = live.root / "wrong.csv"
    wrong.write_text("\n".join([prices[0], *(f"{one}0" for one in prices[1:])]))
    settings_of(live, test_labels="wrong.csv")

    done = run("scripts.test", folder=live.root)

    assert done.returncode == 1
    assert done.stderr.splitlines()[1].startswith(
        "error: the error over the rows (RMSE) is too large: "
    )


def test_a_label_in_the_test_table_itself_is_used_and_not_sent(live: Place) -> None:
    rows = (live.root / "test.csv").read_text().splitlines()
    prices = (live.root / "test_prices.csv").read_text().splitlines()
    labels = [one.split(",")[1] for one in prices[: len(rows)]]
    both = [f"{row},{label}" for row, label in zip(rows, labels, strict=True)]
    (live.root / "both.csv").write_text("\n".join(both))
    settings_of(live, test="both.csv", test_labels="")
    before = run_smoke_test(live.target, live.settings)

    assert before.rows[0].truth == 142000
    check_report(before)


def test_without_a_test_table_the_releases_own_rows_are_asked(live: Place) -> None:
    settings_of(live, test="", test_labels="")

    done = run("scripts.test", folder=live.root)

    assert done.returncode == 0, done.stderr
    assert "its own validation rows (the settings name no test table)" in done.stdout
    assert "No label is known of these rows: the error over them was not looked at" in done.stdout


def test_a_release_that_is_not_the_stores_fails(live: Place, store: Path) -> None:
    folder = store / "house-prices/1"
    (folder / "model_card.md").write_text("another")
    rewrite(folder, "1")
    assert ReleaseStore(str(store), "house-prices").load_manifest("1")

    with pytest.raises(SmokeTestError, match="answers, and the store's version 1 is "):
        run_smoke_test(live.target, live.settings)


def test_an_endpoint_that_is_not_there_is_one_line(place: Place) -> None:
    done = run("scripts.test", folder=place.root)

    assert done.returncode == 2
    reason = f"nothing answers at http://127.0.0.1:{place.port}; make status says why"
    assert done.stderr.splitlines()[1:] == [f"error: prod-endpoint: {reason}"]
    settings_of(place, test="", test_labels="")
    with pytest.raises(EndpointError, match="nothing is deployed"):
        run_smoke_test(place.target, place.settings)
