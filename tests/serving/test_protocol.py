"""MLflow's scoring protocol and SageMaker's container contract, as their documentation tells them.

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
from tests.serving.server import Server, bits, build_release, records, serving
from training.export.parity import OnnxModel

JSON_LINES = "application/jsonlines"


@pytest.fixture(scope="module")
def head(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.head(30)


@pytest.fixture(scope="module")
def expected(released: Any, head: pd.DataFrame) -> list[int]:
    graph = OnnxModel((released[0] / "model.onnx").read_bytes())
    return bits(graph.predict(head).tolist())


def as_csv(rows: pd.DataFrame, **options: Any) -> str:
    text: str = rows.to_csv(index=False, na_rep="NA", **options)
    return text


def split_of(rows: pd.DataFrame) -> dict[str, Any]:
    data = [list(row.values()) for row in records(rows)]
    return {"columns": list(rows), "data": data}


def test_every_form_of_json_gives_the_same(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    rows, split = records(head), split_of(head)
    columns = {str(name): [row[str(name)] for row in rows] for name in head}
    backwards = head[list(reversed(list(head)))]
    bodies = [
        {"instances": rows},
        {"instances": split["data"]},
        {"inputs": columns},
        {"inputs": rows},
        {"inputs": split["data"]},
        {"dataframe_split": split},
        {"dataframe_split": {**split, "index": list(range(30))}},
        {"dataframe_split": {"data": split["data"]}},
        {"dataframe_split": split_of(backwards)},
        {"dataframe_records": rows},
        {"dataframe_records": records(backwards), "params": {}},
    ]
    for body in bodies:
        assert bits(server.post(body).predictions) == expected, body.keys()


@pytest.mark.parametrize("kind", ["text/csv", "text/csv; charset=utf-8; header=present"])
def test_csv_with_a_header(
    server: Server, head: pd.DataFrame, expected: list[int], kind: str
) -> None:
    backwards = as_csv(head[list(reversed(list(head)))])

    assert bits(server.post(as_csv(head), kind).predictions) == expected
    assert bits(server.post(backwards, kind).predictions) == expected


@pytest.mark.parametrize("kind", ["text/csv", "TEXT/CSV;header=absent"])
def test_csv_without_a_header(
    server: Server, head: pd.DataFrame, expected: list[int], kind: str
) -> None:
    assert bits(server.post(as_csv(head, header=False), kind).predictions) == expected


@pytest.mark.parametrize("form", ["objects", "lists"])
def test_json_lines(server: Server, head: pd.DataFrame, expected: list[int], form: str) -> None:
    rows: list[Any] = records(head) if form == "objects" else split_of(head)["data"]
    body = "\n".join(map(json.dumps, rows)) + "\n"

    assert bits(server.post(body, JSON_LINES).predictions) == expected


def test_a_table_as_pandas_writes_it(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    """The two ways that MLflow's documentation shows."""
    for orient in ("split", "records"):
        body = f'{{"dataframe_{orient}": {head.to_json(orient=orient)}}}'
        assert bits(server.post(body).predictions) == expected


def test_the_answer_is_in_the_form_that_is_accepted(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    body = {"dataframe_records": records(head)}
    for accept, kind in (
        ("text/csv", "text/csv"),
        ("application/jsonlines", JSON_LINES),
        ("application/x-ndjson;q=0.5, text/csv;q=0.4", JSON_LINES),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
    ):
        reply = server.post(body, Accept=accept)

        assert reply.headers["content-type"] == kind
        lines = reply.body.decode().splitlines()
        if kind == "text/csv":
            assert bits([float(line) for line in lines]) == expected
        elif kind == JSON_LINES:
            assert bits([json.loads(line)["prediction"] for line in lines]) == expected
        else:
            assert bits(reply.predictions) == expected


def test_columns_that_never_lacked_a_value_are_required(
    server: Server, released: Any, head: pd.DataFrame
) -> None:
    manifest = Manifest.model_validate_json((released[0] / MANIFEST_FILE).read_text())
    required = [column.name for column in manifest.columns if column.required]
    assert 0 < len(required) < len(manifest.columns)

    whole = server.post({"dataframe_records": records(head[required])})
    assert len(whole.predictions) == 30
    for name in required[:3]:
        reply = server.post({"dataframe_records": records(head.drop(columns=name))})
        assert reply.error[0] == 400
        assert f'"{name}"' in reply.error[2]


def test_columns_that_the_model_does_not_know_are_ignored(
    server: Server, head: pd.DataFrame, expected: list[int]
) -> None:
    more = head.assign(Id=1, SalePrice=2, Remark="nice")

    assert bits(server.post({"dataframe_split": split_of(more)}).predictions) == expected


def test_whatever_says_missing_is_missing(server: Server, head: pd.DataFrame) -> None:
    row = records(head)[0]
    answers = set()
    for gap in (None, float("nan"), "NA", ""):
        changed = row | dict.fromkeys(("LotFrontage", "MasVnrArea", "GarageType", "MSZoning"), gap)
        reply = server.post({"instances": [changed]})
        answers.add((reply.predictions[0], reply.headers["x-amzn-sagemaker-custom-attributes"]))
    left_out = {name: row[name] for name in row if name not in {"LotFrontage", "MasVnrArea"}}
    left_out |= dict.fromkeys(("GarageType", "MSZoning"))
    reply = server.post({"instances": [left_out]})
    answers.add((reply.predictions[0], reply.headers["x-amzn-sagemaker-custom-attributes"]))

    assert len(answers) == 1


def test_the_answer_names_the_model_and_counts_what_was_put_in(
    server: Server, released: Any, head: pd.DataFrame
) -> None:
    rows = records(head.head(2).dropna(axis=1))
    digest = re.compile(r"model=house-prices;version=7;digest=sha256:([0-9a-f]{64});(.*)")

    def about(*changes: dict[str, Any]) -> dict[str, int]:
        changed = [row | change for row, change in zip(rows, changes, strict=True)]
        reply = server.post({"instances": changed})
        assert reply.status == 200, reply.body
        found = digest.fullmatch(reply.headers["x-amzn-sagemaker-custom-attributes"])
        assert found
        return {name: int(n) for name, n in (one.split("=") for one in found[2].split(";"))}

    before = about({}, {})
    assert about({"LotArea": None}, {"MSZoning": "NA"})["imputed"] == before["imputed"] + 2
    # There a missing text says that there is none.
    assert about({"Alley": "Pave"}, {"Alley": None})["imputed"] == before["imputed"]
    changed = about({"MSZoning": "Moon", "MSSubClass": 21}, {"Alley": "Milky Way"})
    assert changed["unknown"] == before["unknown"] + 3


def test_ping_and_version(server: Server) -> None:
    assert server.ask("GET", "/ping").status == 200
    assert server.ask("GET", "/health").status == 200
    assert server.ask("GET", "/version").body == b"3.17.2"


def test_the_openapi_description_names_the_columns(server: Server, rows: pd.DataFrame) -> None:
    described = json.loads(server.ask("GET", "/openapi.json").body)

    row = described["components"]["schemas"]["Row"]
    assert list(row["properties"]) == list(rows)
    assert {"/ping", "/version", "/invocations"} <= set(described["paths"])


def test_ping_is_503_until_the_model_is_loaded(released: Any) -> None:
    app = App(released[0], ServingSettings(log_requests=False))

    async def ask(path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
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
        assert (await ask("/ping"))[0] == 503
        assert (await ask("/version"))[0] == 503
        loading = asyncio.ensure_future(app.load())
        await asyncio.sleep(0)
        assert (await ask("/ping"))[0] == 503
        body = (released[0] / "check.json").read_bytes()
        known = json.loads(body)
        # It waits for the model.
        status, answer = await ask(
            "/invocations", "POST", json.dumps({"instances": known["rows"]}).encode()
        )
        assert status == 200
        assert bits(json.loads(answer)["predictions"]) == bits(known["predictions"])
        await loading
        assert (await ask("/ping"))[0] == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("family", ["xgboost", "ridge"])
def test_a_row_gets_the_same_answer_alone_and_in_any_batch(tmp_path: Path, family: str) -> None:
    rows = build_release(tmp_path / "release", family)
    listed = records(rows)
    with serving(tmp_path / "release") as server:
        together = bits(server.post({"instances": listed}).predictions)
        alone = [bits(server.post({"instances": [row]}).predictions)[0] for row in listed]
        by_seven = [
            one
            for start in range(0, len(listed), 7)
            for one in bits(server.post({"instances": listed[start : start + 7]}).predictions)
        ]
        many = bits(server.post({"instances": 3 * listed}).predictions)

    assert alone == together
    assert by_seven == together
    assert many == 3 * together
