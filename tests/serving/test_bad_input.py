"""Any invalid request gets an error of one line, and the next request succeeds."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.server import Server, running_server, to_bits, to_records

CSV, JSON_LINES = "text/csv", "application/jsonlines"
MB = 2**20


@pytest.fixture(scope="module")
def row(rows: pd.DataFrame) -> dict[str, Any]:
    return to_records(rows.head(1))[0]


@pytest.fixture
def unaffected(server: Server, row: dict[str, Any]) -> Any:
    """After each test the server predicts as before."""
    before = to_bits(server.post({"instances": [row]}).predictions)
    yield
    assert to_bits(server.post({"instances": [row]}).predictions) == before
    assert server.process.poll() is None


def error_message(
    server: Server, body: Any, content_type: str = "application/json", **headers: str
) -> str:
    """Send an invalid body; return the message of the 400 response."""
    status, code, message = server.post(body, content_type, **headers).error
    assert (status, code) == (400, "BAD_REQUEST"), message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.mark.usefixtures("unaffected")
class TestBody:
    """The format of a body."""

    @pytest.mark.parametrize("content_type", ["application/json", CSV, JSON_LINES])
    def test_empty_body(self, server: Server, content_type: str) -> None:
        assert error_message(server, "", content_type) == "the body is empty"
        assert error_message(server, " \n", content_type) == "the body is empty"

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ("{", "invalid JSON: expecting property name"),
            ('{"instances": [1,]}', "invalid JSON"),
            ("nonsense", "invalid JSON: expecting value at line 1, column 1"),
            ('{"instances": []} more', "invalid JSON: extra data"),
            ("3", "expected a JSON object with one of"),
            ("null", "expected a JSON object with one of"),
            ("[[1]]", "expected a JSON object with one of"),
            ("{}", "expected exactly one of instances, inputs, dataframe_split, dataframe_records"),
            ('{"rows": []}', "found 'rows'"),
            ('{"instances": [], "inputs": []}', "exactly one"),
            ('{"instances": []}', "the body contains no rows"),
            ('{"dataframe_records": []}', "the body contains no rows"),
            ('{"inputs": {}}', "the body contains no rows"),
            ('{"dataframe_split": {"columns": [], "data": []}}', "the body contains no rows"),
            ('{"instances": 3}', "instances: expected a list of rows"),
            ('{"instances": {"LotArea": 1}}', "instances: expected a list of rows"),
            ('{"instances": [3]}', "row 1: expected an object"),
            ('{"dataframe_records": [[1]]}', "row 1: expected an object"),
            (
                '{"dataframe_split": [1]}',
                "dataframe_split: expected an object with the lists columns",
            ),
            ('{"dataframe_split": {"columns": ["a"]}}', "dataframe_split: expected an object"),
            (
                '{"dataframe_split": {"columns": [1], "data": [[1]]}}',
                "columns must be a list of names",
            ),
            (
                '{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
                "duplicate column 'a'",
            ),
            ('{"inputs": {"LotArea": 3}}', "inputs: 'LotArea' must be a list"),
            (
                '{"inputs": {"a": [1], "b": [1, 2]}}',
                "inputs: 'b' and the first column differ in length",
            ),
            ('{"instances": [[1, 2]]}', "row 1 has 2 values for 79 columns"),
            ('{"instances": [[1]], "params": {"a": 1}}', "params: the model has no parameters"),
            ('{"instances": [{"a": 1, "a": 2}]}', "duplicate key 'a' in a JSON object"),
            ('{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
            ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
            ('{"instances": [[' + "9" * 10_000 + "]]}", "a number has too many digits"),
            ('{"instances": [[' + "1," * 1_000_000 + "1]]}", "row 1 has 1000001 values"),
        ],
        ids=lambda text: text[:40],
    )
    def test_invalid_json(self, server: Server, body: str, expected: str) -> None:
        assert expected in error_message(server, body)

    def test_invalid_utf_8(self, server: Server) -> None:
        assert (
            error_message(server, b'{"instances": "\xff"}')
            == "the body is not valid UTF-8 at byte 15"
        )
        assert "not valid UTF-8" in error_message(server, '{"instances": []}'.encode("utf-16"))

    def test_one_million_columns(self, server: Server, row: dict[str, Any]) -> None:
        many = {f"c{number}": 1 for number in range(1_000_000)}
        assert len(server.post({"instances": [row | many]}).predictions) == 1
        names = list(many)
        body = {"dataframe_split": {"columns": names, "data": [[1] * len(names)]}}
        assert "missing required columns" in error_message(server, body)
        table = f"{','.join(names)}\n{'1,' * (len(names) - 1)}1\n"
        assert "missing required columns" in error_message(server, table, f"{CSV};header=present")

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ("1,2\n", "row 1 has 2 values for 79 columns"),
            ('"a\n1,2', "invalid CSV"),
            ('"a"b,c\n', "invalid CSV"),
            ("LotArea,LotArea\n1,1\n", "duplicate column 'LotArea'"),
            ("LotArea\n1,1\n", "row 1 has 2 values for 1 columns"),
            ("LotArea\n", "the body contains no rows"),
            ("LotArea\n1\n", "missing required columns"),
            ("x" * 200_000, "invalid CSV: field larger than field limit"),
        ],
        ids=lambda text: text[:20],
    )
    def test_invalid_csv(self, server: Server, body: str, expected: str) -> None:
        assert expected in error_message(server, body, CSV)

    def test_invalid_json_lines(self, server: Server, row: dict[str, Any]) -> None:
        good = json.dumps(row)
        assert "line 2: invalid JSON" in error_message(server, f"{good}\n{{\n", JSON_LINES)
        assert "row 2: expected an object" in error_message(server, f"{good}\n[1]\n", JSON_LINES)
        assert "row 1: expected an object" in error_message(server, "3\n", JSON_LINES)

    def test_required_column_missing_in_one_row(self, server: Server, row: dict[str, Any]) -> None:
        less = {name: value for name, value in row.items() if name != "LotArea"}
        message = error_message(server, {"instances": [row, less]})
        assert message == 'row 2: the column "LotArea" is missing'


@pytest.mark.usefixtures("unaffected")
class TestValues:
    """The values of the rows."""

    @pytest.mark.parametrize(
        ("column", "value", "expected"),
        [
            ("LotArea", "much", "'much' is not an integer"),
            ("LotArea", 1.5, "1.5 is not an integer"),
            ("LotArea", "12", "'12' is not an integer"),
            ("LotArea", True, "true is not an integer"),
            ("LotArea", [1], "a nested value is not an integer"),
            ("LotArea", {"a": 1}, "a nested value is not an integer"),
            ("LotArea", 10**400, "a huge number is not an integer"),
            ("LotArea", 10**20, "is not an integer"),
            ("LotArea", -(2**63), "is not an integer"),
            ("LotArea", float("inf"), "inf is not an integer"),
            ("LotFrontage", "wide", "'wide' is not a number"),
            ("LotFrontage", "x" * 5000, f"'{'x' * 39}... is not a number"),
            ("LotFrontage", False, "false is not a number"),
            ("LotFrontage", [[]], "a nested value is not a number"),
            ("LotFrontage", float("-inf"), "-inf is not a number in the model's range"),
            ("LotFrontage", 1e300, "1e+300 is not a number in the model's range"),
            ("LotFrontage", 10**400, "a huge number is not a number"),
            ("MSZoning", 3, "3 is not a string"),
            ("MSZoning", ["RL"], "a nested value is not a string"),
            ("MSZoning", False, "false is not a string"),
            ("MSZoning", "\ud800", r"'\ud800' is not a string"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_wrong_type(
        self, server: Server, row: dict[str, Any], column: str, value: Any, expected: str
    ) -> None:
        message = error_message(server, {"instances": [row, row | {column: value}]})

        assert message.startswith(f'row 2, column "{column}": ')
        assert expected in message

    @pytest.mark.parametrize("text", ["much", "1_000", "inf", "1e999", "0x10", "1,5"])
    @pytest.mark.parametrize("column", ["LotArea", "LotFrontage"])
    def test_wrong_type_in_csv(
        self, server: Server, rows: pd.DataFrame, column: str, text: str
    ) -> None:
        table = rows.head(3).astype(object)
        table.iloc[1, list(table).index(column)] = text
        body = table.to_csv(index=False, na_rep="NA")

        assert error_message(server, body, CSV).startswith(
            f"row 2, column \"{column}\": '{text}' is not"
        )

    def test_numbers_whose_sum_overflows(self, server: Server, row: dict[str, Any]) -> None:
        """The request may also succeed: trees only compare numbers."""
        response = server.post({"instances": [row | {"LotArea": 2**53, "LotFrontage": 3e38}]})
        assert response.status == 200 or "row 1" in response.error[2]


@pytest.mark.usefixtures("unaffected")
class TestHttp:
    """Paths, methods, headers and connections."""

    @pytest.mark.parametrize(
        "content_type", ["", "text/plain", "application/xml", "nonsense", ";", "a/b" * 99]
    )
    def test_unsupported_content_type(self, server: Server, content_type: str) -> None:
        status, code, message = server.post("{}", content_type).error
        assert (status, code) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "application/json, text/csv or application/jsonlines" in message

    def test_unsupported_parameters_of_the_content_type(self, server: Server) -> None:
        assert server.post("{}", "text/csv; charset=latin-1").error[0] == 415
        assert server.post("{}", "text/csv; header=maybe").error[0] == 400

    @pytest.mark.parametrize("accept", ["text/html", "image/png, text/xml", "application/json;q=0"])
    def test_unsupported_accept(self, server: Server, row: dict[str, Any], accept: str) -> None:
        assert server.post({"instances": [row]}, Accept=accept).error[0] == 406

    def test_unknown_path_and_method(self, server: Server) -> None:
        status, code, message = server.request("GET", "/unknown").error
        assert (status, code) == (404, "ENDPOINT_NOT_FOUND")
        assert "/ping, /health, /version, /openapi.json, /invocations" in message
        assert server.request("POST", "/../etc/passwd", b"{}").error[0] == 404
        response = server.request("GET", "/invocations")
        assert response.error[0] == 405
        assert response.headers["allow"] == "POST"
        assert server.request("POST", "/ping", b"{}").error[0] == 405
        assert server.request("DELETE", "/invocations").error[0] == 405

    def test_request_that_is_not_http(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")

    def test_client_that_disconnects(self, server: Server) -> None:
        for head in (
            b"POST /invoc",
            b"POST /invocations HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(head)


def read_error(connection: socket.socket) -> bytes:
    """Read an error response, which may arrive in several chunks."""
    response = b""
    while b"}" not in response and (chunk := connection.recv(1000)):
        response += chunk
    return response


def test_slow_client_times_out(released: Any, row: dict[str, Any]) -> None:
    with running_server(released[0], body_timeout_seconds=1) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            started_at = time.monotonic()
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            )
            response = read_error(connection)
            assert 0.5 < time.monotonic() - started_at < 5
            assert response.startswith(b"HTTP/1.1 408")
            assert b"DEADLINE_EXCEEDED" in response
        assert len(server.post({"instances": [row]}).predictions) == 1


def _peak_memory(server: Server) -> int:
    """The peak memory of the worker, in bytes."""
    status = Path(f"/proc/{server.workers()[0]}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("with_length", [True, False])
def test_body_above_the_limit_is_refused_before_it_is_in_memory(
    released: Any, row: dict[str, Any], with_length: bool
) -> None:
    size = 200 * MB
    length = b"Content-Length: %d" % size if with_length else b"Transfer-Encoding: chunked"
    with running_server(released[0], max_body_mb=5) as server:
        before = _peak_memory(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n%s\r\n\r\n"
                % length
            )
            if with_length:  # the header is enough
                assert read_error(connection).startswith(b"HTTP/1.1 413")
            chunk = b" " * MB
            for _ in range(size // MB):
                connection.sendall(chunk if with_length else b"%x\r\n%s\r\n" % (MB, chunk))
            if not with_length:
                response = read_error(connection)
                assert response.startswith(b"HTTP/1.1 413")
                assert b"the body is larger than 5 MB" in response
        assert _peak_memory(server) - before < 30 * MB
        assert len(server.post({"instances": [row]}).predictions) == 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(server: Server, body: bytes, content_type: str) -> None:
    """The response has predictions, or an error of one line."""
    response = server.post(body, content_type)
    if response.status == 200:
        assert all(isinstance(value, float) for value in response.predictions)
    else:
        status, code, message = response.error
        assert (status, code) == (400, "BAD_REQUEST"), message
        assert message.isprintable()
        assert len(message) < 600


@FUZZ
@given(data=st.data())
def test_any_values_in_any_column(server: Server, row: dict[str, Any], data: st.DataObject) -> None:
    names = st.sampled_from([*row, "unknown"])
    changes = data.draw(
        st.lists(st.dictionaries(names, NESTED, max_size=5), min_size=1, max_size=3)
    )
    body = json.dumps({"dataframe_records": [row | change for change in changes]})
    check(server, body.encode("utf-8", "surrogatepass"), "application/json")


@FUZZ
@given(
    name=st.sampled_from(["instances", "inputs", "dataframe_split", "dataframe_records", "x"]),
    content=NESTED,
)
def test_any_json(server: Server, name: str, content: Any) -> None:
    check(server, json.dumps({name: content}).encode(), "application/json")


@FUZZ
@given(
    body=st.binary(max_size=200),
    content_type=st.sampled_from(["application/json", CSV, JSON_LINES, f"{CSV};header=absent"]),
)
def test_any_bytes(server: Server, body: bytes, content_type: str) -> None:
    check(server, body, content_type)


@FUZZ
@given(data=st.data())
def test_csv_with_some_bytes_replaced(
    server: Server, rows: pd.DataFrame, data: st.DataObject
) -> None:
    body = rows.head(2).to_csv(index=False).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 30)))
    check(server, body[:start] + data.draw(st.binary(max_size=10)) + body[end:], CSV)
