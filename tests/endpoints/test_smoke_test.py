"""`make smoke-test`: real rows sent with boto3, and the errors that it finds."""

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
from tests.endpoints.helpers import MODEL, Project, rebuild_manifest
from tests.helpers import run, write_settings


class AlteredTarget(LocalTarget):
    """The local target, whose endpoint returns altered predictions."""

    def __init__(self, project: Project, alter: Any) -> None:
        super().__init__(project.settings)
        self._alter = alter

    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        response = super().invoke(body, content_type, accept)
        predictions = json.loads(response.body)["predictions"]
        self._alter(predictions)
        return replace(response, body=json.dumps({"predictions": predictions}).encode())


@pytest.fixture
def deployed(project: Project) -> Project:
    project.target.deploy()
    return project


def change_settings(project: Project, **data: str) -> None:
    serving = {"port": project.port, "workers": 1}
    release = {"store": project.settings.release.store}
    project.settings = load_settings(
        write_settings(project.root, data=data, serving=serving, release=release)
    )


def test_predictions_that_match_the_release_pass(deployed: Project) -> None:
    done = run("scripts.test", folder=deployed.root)
    as_json = run("scripts.test", "--json", folder=deployed.root)

    assert done.returncode == as_json.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "Sending the first 20 rows of test.csv to prod-endpoint",
        "Passed: the predictions match house-prices version 1",
    ]
    assert "  1466 " in done.stdout  # rows are named by the table's id
    assert "RMSE of these rows" in done.stdout
    report = json.loads(as_json.stdout)
    assert len(report["rows"]) == 20
    assert report["rows"][0]["name"] == "1466"
    assert report["rows"][0]["label"] == 142000
    assert 0 < report["rmse"] <= report["rmse_limit"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "row 1468: the prediction is nan"),
        (None, "row 1468: the prediction is nan"),
        (float("inf"), "row 1468: the prediction is inf"),
        (123.0, "row 1468: the endpoint predicts 123, where house-prices version 1 predicts "),
    ],
)
def test_wrong_prediction_fails(deployed: Project, value: float | None, reason: str) -> None:
    def alter(predictions: list[float | None]) -> None:
        predictions[2] = value

    with pytest.raises(SmokeTestError) as error:
        check_report(run_smoke_test(AlteredTarget(deployed, alter), deployed.settings))

    assert str(error.value).startswith(reason)
    assert error.value.exit_code == 1


def test_missing_prediction_fails(deployed: Project) -> None:
    with pytest.raises(SmokeTestError, match="returns 19 predictions for 20 rows"):
        run_smoke_test(AlteredTarget(deployed, list.pop), deployed.settings)


def test_rmse_above_the_limit_fails(deployed: Project) -> None:
    prices = (deployed.root / "test_prices.csv").read_text().splitlines()
    wrong = deployed.root / "wrong.csv"
    wrong.write_text("\n".join([prices[0], *(f"{line}0" for line in prices[1:])]))
    change_settings(deployed, test_labels="wrong.csv")

    done = run("scripts.test", folder=deployed.root)

    assert done.returncode == 1
    assert done.stderr.splitlines()[1].startswith("error: the RMSE of these rows is ")


def test_label_in_the_test_table_is_used_and_not_sent(deployed: Project) -> None:
    rows = (deployed.root / "test.csv").read_text().splitlines()
    prices = (deployed.root / "test_prices.csv").read_text().splitlines()
    labels = [line.split(",")[1] for line in prices[: len(rows)]]
    joined = [f"{row},{label}" for row, label in zip(rows, labels, strict=True)]
    (deployed.root / "joined.csv").write_text("\n".join(joined))
    change_settings(deployed, test="joined.csv", test_labels="")

    report = run_smoke_test(deployed.target, deployed.settings)

    assert report.rows[0].label == 142000
    check_report(report)


def test_check_rows_are_sent_without_a_test_table(deployed: Project) -> None:
    change_settings(deployed, test="", test_labels="")

    done = run("scripts.test", folder=deployed.root)

    assert done.returncode == 0, done.stderr
    assert "its own validation rows (the settings name no test table)" in done.stdout
    assert "These rows have no labels: the error over them was not checked" in done.stdout


def test_release_that_differs_from_the_store_fails(deployed: Project, store: Path) -> None:
    folder = store / MODEL / "1"
    (folder / "model_card.md").write_text("another")
    rebuild_manifest(folder, "1")
    assert ReleaseStore(str(store), MODEL).load_manifest("1")

    with pytest.raises(SmokeTestError, match="responded, but version 1 in the store has sha256 "):
        run_smoke_test(deployed.target, deployed.settings)


def test_missing_endpoint_is_one_line(project: Project) -> None:
    done = run("scripts.test", folder=project.root)

    assert done.returncode == 2
    reason = f"no response from http://127.0.0.1:{project.port}; run make status"
    assert done.stderr.splitlines()[1:] == [f"error: prod-endpoint: {reason}"]
    change_settings(project, test="", test_labels="")
    with pytest.raises(EndpointError, match="nothing is deployed; run make deploy-endpoint"):
        run_smoke_test(project.target, project.settings)
