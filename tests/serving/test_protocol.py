"""MLflow's scoring protocol and SageMaker's container contract, as documented.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally and
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contract.release import MANIFEST_FILE, Manifest
from contract.settings.sections import ServingSettings
from serving.app import App
from tests.serving.server import Server, build_release, running_server, to_bits, to_records
from training.export.parity import OnnxModel

JSON_LINES = "application/jsonlines"


@pytest.fixture(scope="module")
def head(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.head(30)


@pytest.fixture(scope="module")
def expected(released: Any, head: pd.DataFrame) -> list[int]:
    graph = OnnxModel((released[0] / "model.onnx").read_bytes())
    return to_bits(graph.predict(head).tolist())


def to_csv(rows: pd.DataFrame, **options: Any) -> str:
    text: str = rows.to_csv(index=False, na_rep="NA", **options)
    return text


def to_split(rows: pd.DataFrame) -> dict[str, Any]:
    data = [list(row.values()) for row in to_records(rows)]
    return {"columns": list(rows), "data": data}


def test_all_json_formats_give_the_same_predictions(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    rows, split = to_records(head), to_split(head)
    columns = {str(name): [row[str(name)] for row in rows] for name in head}
    reordered = head[list(reversed(list(head)))]
    bodies = [
        {"instances": rows},
        {"instances": split["data"]},
        {"inputs": columns},
        {"inputs": rows},
        {"inputs": split["data"]},
        {"dataframe_split": split},
        {"dataframe_split": {**split, "index": list(range(30))}},
        {"dataframe_split": {"data": split["data"]}},
        {"dataframe_split": to_split(reordered)},
        {"dataframe_records": rows},
        {"dataframe_records": to_records(reordered), "params": {}},
    ]
    for body in bodies:
        assert to_bits(server.post(body).predictions) == expected, body.keys()


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8; header=present"])
def test_csv_with_header(
    server: Server, head: pd.DataFrame, expected: list[int], content_type: str
) -> None:
    reordered = to_csv(head[list(reversed(list(head)))])

    assert to_bits(server.post(to_csv(head), content_type).predictions) == expected
    assert to_bits(server.post(reordered, content_type).predictions) == expected


@pytest.mark.parametrize("content_type", ["text/csv", "TEXT/CSV;header=absent"])
def test_csv_without_header(
    server: Server, head: pd.DataFrame, expected: list[int], content_type: str
) -> None:
    assert to_bits(server.post(to_csv(head, header=False), content_type).predictions) == expected


@pytest.mark.parametrize("row_format", ["objects", "lists"])
def test_json_lines(
    server: Server, head: pd.DataFrame, expected: list[int], row_format: str
) -> None:
    rows: list[Any] = to_records(head) if row_format == "objects" else to_split(head)["data"]
    body = "\n".join(map(json.dumps, rows)) + "\n"

    assert to_bits(server.post(body, JSON_LINES).predictions) == expected


def test_json_written_by_pandas(server: Server, head: pd.DataFrame, expected: list[int]) -> None:
    """The two formats in MLflow's documentation."""
    for orient in ("split", "records"):
        body = f'{{"dataframe_{orient}": {head.to_json(orient=orient)}}}'
        assert to_bits(server.post(body).predictions) == expected


def test_response_has_the_accepted_format(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    body = {"dataframe_records": to_records(head)}
    for accept, content_type in (
        ("text/csv", "text/csv"),
        ("application/jsonlines", JSON_LINES),
        ("application/x-ndjson;q=0.5, text/csv;q=0.4", JSON_LINES),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
    ):
        response = server.post(body, Accept=accept)

        assert response.headers["content-type"] == content_type
        lines = response.body.decode().splitlines()
        if content_type == "text/csv":
            assert to_bits([float(line) for line in lines]) == expected
        elif content_type == JSON_LINES:
            assert to_bits([json.loads(line)["prediction"] for line in lines]) == expected
        else:
            assert to_bits(response.predictions) == expected


def test_columns_without_missing_values_in_training_are_required(
    server: Server, released: Any, head: pd.DataFrame
) -> None:
    manifest = Manifest.model_validate_json((released[0] / MANIFEST_FILE).read_text())
    required = [column.name for column in manifest.columns if column.required]
    assert 0 < len(required) < len(manifest.columns)

    whole = server.post({"dataframe_records": to_records(head[required])})
    assert len(whole.predictions) == 30
    for name in required[:3]:
        response = server.post({"dataframe_records": to_records(head.drop(columns=name))})
        assert response.error[0] == 400
        assert f'"{name}"' in response.error[2]


def test_unknown_columns_are_ignored(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    more = head.assign(Id=1, SalePrice=2, Remark="nice")

    assert to_bits(server.post({"dataframe_split": to_split(more)}).predictions) == expected


def test_all_forms_of_missing_values_are_equivalent(server: Server, head: pd.DataFrame) -> None:
    row = to_records(head)[0]
    responses = set()
    for missing in (None, float("nan"), "NA", ""):
        changed = row | dict.fromkeys(
            ("LotFrontage", "MasVnrArea", "GarageType", "MSZoning"), missing
        )
        response = server.post({"instances": [changed]})
        responses.add(
            (response.predictions[0], response.headers["x-amzn-sagemaker-custom-attributes"])
        )
    left_out = {name: row[name] for name in row if name not in {"LotFrontage", "MasVnrArea"}}
    left_out |= dict.fromkeys(("GarageType", "MSZoning"))
    response = server.post({"instances": [left_out]})
    responses.add((response.predictions[0], response.headers["x-amzn-sagemaker-custom-attributes"]))

    assert len(responses) == 1


def test_response_names_the_release_and_counts_imputed_and_unknown_values(
    server: Server, released: Any, head: pd.DataFrame
) -> None:
    rows = to_records(head.head(2).dropna(axis=1))
    digest = re.compile(r"model=house-prices;version=7;digest=sha256:([0-9a-f]{64});(.*)")

    def attributes(*changes: dict[str, Any]) -> dict[str, int]:
        changed = [row | change for row, change in zip(rows, changes, strict=True)]
        response = server.post({"instances": changed})
        assert response.status == 200, response.body
        found = digest.fullmatch(response.headers["x-amzn-sagemaker-custom-attributes"])
        assert found
        return {name: int(n) for name, n in (pair.split("=") for pair in found[2].split(";"))}

    before = attributes({}, {})
    assert attributes({"LotArea": None}, {"MSZoning": "NA"})["imputed"] == before["imputed"] + 2
    # In this column a missing value is a category of its own.
    assert attributes({"Alley": "Pave"}, {"Alley": None})["imputed"] == before["imputed"]
    changed = attributes({"MSZoning": "unknown", "MSSubClass": 21}, {"Alley": "unknown"})
    assert changed["unknown"] == before["unknown"] + 3


def test_ping_health_and_version(server: Server) -> None:
    assert server.request("GET", "/ping").status == 200
    assert server.request("GET", "/health").status == 200
    assert server.request("GET", "/version").body == b"3.17.2"


def test_openapi_describes_the_columns(server: Server, rows: pd.DataFrame) -> None:
    described = json.loads(server.request("GET", "/openapi.json").body)

    row = described["components"]["schemas"]["Row"]
    assert list(row["properties"]) == list(rows)
    assert {"/ping", "/version", "/invocations"} <= set(described["paths"])


def test_ping_is_503_until_the_model_is_loaded(released: Any) -> None:
    app = App(released[0], ServingSettings(log_requests=False))

    async def request(path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "path": path, "method": method, "headers": headers}
        await app(scope, receive, send)
        return sent[0]["status"], sent[1]["body"]

    async def scenario() -> None:
        assert (await request("/ping"))[0] == 503
        assert (await request("/version"))[0] == 503
        loading = asyncio.ensure_future(app.load())
        await asyncio.sleep(0)
        assert (await request("/ping"))[0] == 503
        body = (released[0] / "check.json").read_bytes()
        known = json.loads(body)
        # /invocations waits for the model.
        status, content = await request(
            "/invocations", "POST", json.dumps({"instances": known["rows"]}).encode()
        )
        assert status == 200
        assert to_bits(json.loads(content)["predictions"]) == to_bits(known["predictions"])
        await loading
        assert (await request("/ping"))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("family", ["xgboost", "ridge"])
def test_row_gets_the_same_prediction_alone_and_in_any_batch(tmp_path: Path, family: str) -> None:
    rows = build_release(tmp_path / "release", family)
    listed = to_records(rows)
    with running_server(tmp_path / "release") as server:
        together = to_bits(server.post({"instances": listed}).predictions)
        alone = [to_bits(server.post({"instances": [row]}).predictions)[0] for row in listed]
        by_seven = [
            prediction
            for start in range(0, len(listed), 7)
            for prediction in to_bits(
                server.post({"instances": listed[start : start + 7]}).predictions
            )
        ]
        many = to_bits(server.post({"instances": 3 * listed}).predictions)

    assert alone == together
    assert by_seven == together
    assert many == 3 * together
