"""Whatever a client sends, it gets one line that says what to mend, and the next request works."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.server import Server, bits, records, serving

CSV, JSON_LINES = "text/csv", "application/jsonlines"
MB = 2**20


@pytest.fixture(scope="module")
def row(rows: pd.DataFrame) -> dict[str, Any]:
    return records(rows.head(1))[0]


@pytest.fixture
def healthy(server: Server, row: dict[str, Any]) -> Any:
    """After each test the server answers as it did before."""
    before = bits(server.post({"instances": [row]}).predictions)
    yield
    assert bits(server.post({"instances": [row]}).predictions) == before
    assert server.process.poll() is None


def refused(server: Server, body: Any, kind: str = "application/json", **headers: str) -> str:
    """Return what a 400 says."""
    status, code, message = server.post(body, kind, **headers).error
    assert (status, code) == (400, "BAD_REQUEST"), message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.mark.usefixtures("healthy")
class TestBody:
    """The form of a body."""

    @pytest.mark.parametrize("kind", ["application/json", CSV, JSON_LINES])
    def test_empty(self, server: Server, kind: str) -> None:
        assert refused(server, "", kind) == "the body is empty"
        assert refused(server, " \n", kind) == "the body is empty"

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("{", "not JSON: expecting property name"),
            ('{"instances": [1,]}', "not JSON"),
            ("nonsense", "not JSON: expecting value at line 1, column 1"),
            ('{"instances": []} more', "not JSON: extra data"),
            ("3", "the body is a JSON object"),
            ("null", "the body is a JSON object"),
            ("[[1]]", "the body is a JSON object"),
            ("{}", "exactly one of instances, inputs, dataframe_split, dataframe_records"),
            ('{"rows": []}', "'rows'"),
            ('{"instances": [], "inputs": []}', "exactly one"),
            ('{"instances": []}', "there are no rows"),
            ('{"dataframe_records": []}', "there are no rows"),
            ('{"inputs": {}}', "there are no rows"),
            ('{"dataframe_split": {"columns": [], "data": []}}', "there are no rows"),
            ('{"instances": 3}', "instances is a list of rows"),
            ('{"instances": {"LotArea": 1}}', "instances is a list of rows"),
            ('{"instances": [3]}', "row 1 is not an object"),
            ('{"dataframe_records": [[1]]}', "row 1 is not an object"),
            ('{"dataframe_split": [1]}', "dataframe_split is an object with columns and data"),
            ('{"dataframe_split": {"columns": ["a"]}}', "dataframe_split is an object"),
            ('{"dataframe_split": {"columns": [1], "data": [[1]]}}', "columns is a list of names"),
            (
                '{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
                "'a' is there twice",
            ),
            ('{"inputs": {"LotArea": 3}}', "inputs: 'LotArea' is not a list"),
            ('{"inputs": {"a": [1], "b": [1, 2]}}', "inputs: 'b' has not as many values"),
            ('{"instances": [[1, 2]]}', "row 1 has 2 values for 79 columns"),
            ('{"instances": [[1]], "params": {"a": 1}}', "params: the model takes none"),
            ('{"instances": [{"a": 1, "a": 2}]}', "'a' is there twice in one object"),
            ('{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
            ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
            ('{"instances": [[' + "9" * 10_000 + "]]}", "a number has too many digits"),
            ('{"instances": [[' + "1," * 1_000_000 + "1]]}", "row 1 has 1000001 values"),
        ],
        ids=lambda text: text[:40],
    )
    def test_json(self, server: Server, body: str, says: str) -> None:
        assert says in refused(server, body)

    def test_no_utf_8(self, server: Server) -> None:
        assert refused(server, b'{"instances": "\xff"}') == "the body is not UTF-8 at byte 15"
        assert "not UTF-8" in refused(server, '{"instances": []}'.encode("utf-16"))

    def test_a_million_columns(self, server: Server, row: dict[str, Any]) -> None:
        many = {f"c{number}": 1 for number in range(1_000_000)}
        assert len(server.post({"instances": [row | many]}).predictions) == 1
        names = list(many)
        body = {"dataframe_split": {"columns": names, "data": [[1] * len(names)]}}
        assert "the required columns" in refused(server, body)
        table = f"{','.join(names)}\n{'1,' * (len(names) - 1)}1\n"
        assert "the required columns" in refused(server, table, f"{CSV};header=present")

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("1,2\n", "row 1 has 2 values for 79 columns"),
            ('"a\n1,2', "not CSV"),
            ('"a"b,c\n', "not CSV"),
            ("LotArea,LotArea\n1,1\n", "'LotArea' is there twice"),
            ("LotArea\n1,1\n", "row 1 has 2 values for 1 columns"),
            ("LotArea\n", "there are no rows"),
            ("LotArea\n1\n", "the required columns"),
            ("x" * 200_000, "not CSV: field larger than field limit"),
        ],
        ids=lambda text: text[:20],
    )
    def test_csv(self, server: Server, body: str, says: str) -> None:
        assert says in refused(server, body, CSV)

    def test_json_lines(self, server: Server, row: dict[str, Any]) -> None:
        good = json.dumps(row)
        assert "line 2: not JSON" in refused(server, f"{good}\n{{\n", JSON_LINES)
        assert "row 2 is not an object" in refused(server, f"{good}\n[1]\n", JSON_LINES)
        assert "row 1 is not an object" in refused(server, "3\n", JSON_LINES)

    def test_a_column_that_one_row_lacks(self, server: Server, row: dict[str, Any]) -> None:
        less = {name: value for name, value in row.items() if name != "LotArea"}
        message = refused(server, {"instances": [row, less]})
        assert message == 'row 2: the column "LotArea" is missing'


@pytest.mark.usefixtures("healthy")
class TestValues:
    """The values of the rows."""

    @pytest.mark.parametrize(
        ("column", "value", "says"),
        [
            ("LotArea", "much", "'much' is not a whole number"),
            ("LotArea", 1.5, "1.5 is not a whole number"),
            ("LotArea", "12", "'12' is not a whole number"),
            ("LotArea", True, "true is not a whole number"),
            ("LotArea", [1], "a nested value is not a whole number"),
            ("LotArea", {"a": 1}, "a nested value is not a whole number"),
            ("LotArea", 10**400, "a huge number is not a whole number"),
            ("LotArea", 10**20, "is not a whole number"),
            ("LotArea", -(2**63), "is not a whole number"),
            ("LotArea", float("inf"), "inf is not a whole number"),
            ("LotFrontage", "wide", "'wide' is not a number"),
            ("LotFrontage", "x" * 5000, f"'{'x' * 39}... is not a number"),
            ("LotFrontage", False, "false is not a number"),
            ("LotFrontage", [[]], "a nested value is not a number"),
            ("LotFrontage", float("-inf"), "-inf is not a number that the model has room for"),
            ("LotFrontage", 1e300, "1e+300 is not a number that the model has room for"),
            ("LotFrontage", 10**400, "a huge number is not a number"),
            ("MSZoning", 3, "3 is not a text"),
            ("MSZoning", ["RL"], "a nested value is not a text"),
            ("MSZoning", False, "false is not a text"),
            ("MSZoning", "\ud800", r"'\ud800' is not a text"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_of_another_type(
        self, server: Server, row: dict[str, Any], column: str, value: Any, says: str
    ) -> None:
        message = refused(server, {"instances": [row, row | {column: value}]})

        assert message.startswith(f'row 2, column "{column}": ')
        assert says in message

    @pytest.mark.parametrize("text", ["much", "1_000", "inf", "1e999", "0x10", "1,5"])
    @pytest.mark.parametrize("column", ["LotArea", "LotFrontage"])
    def test_text_in_csv(self, server: Server, rows: pd.DataFrame, column: str, text: str) -> None:
        table = rows.head(3).astype(object)
        table.iloc[1, list(table).index(column)] = text
        body = table.to_csv(index=False, na_rep="NA")

        assert refused(server, body, CSV).startswith(f"row 2, column \"{column}\": '{text}' is not")

    def test_numbers_that_the_sum_has_no_room_for(
        self, server: Server, row: dict[str, Any]
    ) -> None:
        """Or it is answered: trees only compare."""
        reply = server.post({"instances": [row | {"LotArea": 2**53, "LotFrontage": 3e38}]})
        assert reply.status == 200 or "row 1" in reply.error[2]


@pytest.mark.usefixtures("healthy")
class TestHttp:
    """What HTTP itself has to say."""

    @pytest.mark.parametrize(
        "kind", ["", "text/plain", "application/xml", "nonsense", ";", "a/b" * 99]
    )
    def test_content_type(self, server: Server, kind: str) -> None:
        status, code, message = server.post("{}", kind).error
        assert (status, code) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "application/json, text/csv or application/jsonlines" in message

    def test_charset(self, server: Server) -> None:
        assert server.post("{}", "text/csv; charset=latin-1").error[0] == 415
        assert server.post("{}", "text/csv; header=maybe").error[0] == 400

    @pytest.mark.parametrize("accept", ["text/html", "image/png, text/xml", "application/json;q=0"])
    def test_accept(self, server: Server, row: dict[str, Any], accept: str) -> None:
        assert server.post({"instances": [row]}, Accept=accept).error[0] == 406

    def test_path_and_method(self, server: Server) -> None:
        assert server.ask("GET", "/nowhere").error[:2] == (404, "ENDPOINT_NOT_FOUND")
        assert server.ask("POST", "/../etc/passwd", b"{}").error[0] == 404
        reply = server.ask("GET", "/invocations")
        assert reply.error[0] == 405
        assert reply.headers["allow"] == "POST"
        assert server.ask("POST", "/ping", b"{}").error[0] == 405
        assert server.ask("DELETE", "/invocations").error[0] == 405

    def test_what_is_no_http(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")

    def test_a_client_that_hangs_up(self, server: Server) -> None:
        for head in (
            b"POST /invoc",
            b"POST /invocations HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
                raw.sendall(head)


def answer_of(raw: socket.socket) -> bytes:
    """Read a refusal, which may come in pieces."""
    answer = b""
    while b"}" not in answer and (piece := raw.recv(1000)):
        answer += piece
    return answer


def test_a_slow_client_is_not_waited_for(released: Any, row: dict[str, Any]) -> None:
    with serving(released[0], body_timeout_seconds=1) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            began = time.monotonic()
            raw.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            answer = answer_of(raw)
            assert 0.5 < time.monotonic() - began < 5
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"DEADLINE_EXCEEDED" in answer
        assert len(server.post({"instances": [row]}).predictions) == 1


def _memory(server: Server) -> int:
    """Bytes, the most that the worker has had."""
    status = Path(f"/proc/{server.workers()[0]}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask for memory")
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_past_the_limit_is_refused_before_it_is_in_memory(
    released: Any, row: dict[str, Any], announced: bool
) -> None:
    size = 200 * MB
    length = b"Content-Length: %d" % size if announced else b"Transfer-Encoding: chunked"
    with serving(released[0], max_body_mb=5) as server:
        before = _memory(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            raw.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n%s\r\n\r\n"
                % length
            )
            if announced:  # it has said enough
                assert answer_of(raw).startswith(b"HTTP/1.1 413")
            piece = b" " * MB
            for _ in range(size // MB):
                raw.sendall(piece if announced else b"%x\r\n%s\r\n" % (MB, piece))
            if not announced:
                answer = answer_of(raw)
                assert answer.startswith(b"HTTP/1.1 413")
                assert b"the body is larger than 5 MB" in answer
        assert _memory(server) - before < 30 * MB
        assert len(server.post({"instances": [row]}).predictions) == 1


# --- Fuzzing --------------------------------------------------------------------------------------

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


def check(server: Server, body: bytes, kind: str) -> None:
    """It is answered, or refused in one line."""
    reply = server.post(body, kind)
    if reply.status == 200:
        assert all(isinstance(one, float) for one in reply.predictions)
    else:
        status, code, message = reply.error
        assert (status, code) == (400, "BAD_REQUEST"), message
        assert message.isprintable()
        assert len(message) < 600


@FUZZ
@given(data=st.data())
def test_any_values_in_any_column(server: Server, row: dict[str, Any], data: st.DataObject) -> None:
    names = st.sampled_from([*row, "unheard of"])
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
    kind=st.sampled_from(["application/json", CSV, JSON_LINES, f"{CSV};header=absent"]),
)
def test_any_bytes(server: Server, body: bytes, kind: str) -> None:
    check(server, body, kind)


@FUZZ
@given(data=st.data())
def test_csv_with_a_piece_replaced(server: Server, rows: pd.DataFrame, data: st.DataObject) -> None:
    body = rows.head(2).to_csv(index=False).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 30)))
    check(server, body[:start] + data.draw(st.binary(max_size=10)) + body[end:], CSV)
