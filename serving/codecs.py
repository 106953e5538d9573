"""The formats of a request and of its answer: JSON, CSV and JSON Lines.

JSON is MLflow's scoring protocol (https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally):
one of `instances`, `inputs`, `dataframe_split` and `dataframe_records`.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import Message
from functools import lru_cache
from typing import Any

from serving.errors import RequestError
from serving.inputs import RequestRows, Schema

JSON, CSV, JSON_LINES = "application/json", "text/csv", "application/jsonlines"
MEDIA_TYPES = {
    JSON: JSON,
    CSV: CSV,
    **dict.fromkeys(
        (JSON_LINES, "application/x-jsonlines", "application/jsonl", "application/x-ndjson"),
        JSON_LINES,
    ),
}
FIELDS = ("instances", "inputs", "dataframe_split", "dataframe_records")
OTHER_FIELDS = {"params"}
CACHED = 64
"""Header values whose meaning is kept, since clients send the same ones again and again."""


@lru_cache(CACHED)
def parse_content_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """Return a request's format, and the parameters of its type.

    Raises:
        RequestError: It is none of those known (415), or not in UTF-8.
    """
    name, parameters = _parse(content_type)
    if name not in MEDIA_TYPES:
        known = f"{JSON}, {CSV} or {JSON_LINES}"
        what = f"not {name[:80]}" if name else "and the request names none"
        raise RequestError(f"the content type is {known}, {what}", 415, "UNSUPPORTED_MEDIA_TYPE")
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise RequestError(f"text is in UTF-8, not {charset[:80]}", 415, "UNSUPPORTED_MEDIA_TYPE")
    return MEDIA_TYPES[name], parameters


@lru_cache(CACHED)
def negotiate_accept(accept: str) -> str:
    """Return the format to answer in; of those that are equally welcome the first one, or JSON.

    Raises:
        RequestError: The client accepts none of those known (406).
    """
    best, answer = 0.0, ""
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, parameters = _parse(part)
        found = MEDIA_TYPES.get(name) or {"*/*": JSON, "application/*": JSON, "text/*": CSV}.get(
            name
        )
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0
        if found and quality > best:
            best, answer = quality, found
    if not answer:
        raise RequestError(
            f"answers are {JSON}, {CSV} or {JSON_LINES}; none is accepted", 406, "NOT_ACCEPTABLE"
        )
    return answer


def decode(body: bytes, form: str, parameters: Mapping[str, str], schema: Schema) -> RequestRows:
    """Return the rows of a body.

    Args:
        body: As it was sent.
        form: What `parse_content_type` says of it.
        parameters: Those of its type; of CSV `header=present` or `absent`.
        schema: Names the columns of rows that have no names.

    Raises:
        RequestError: It isn't what its type says, or its rows have no common form.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise RequestError("the body is empty")
    frame = READERS[form](text, parameters, schema)
    if not frame.rows:
        raise RequestError("there are no rows")
    return frame


def encode(predictions: Sequence[float], form: str) -> bytes:
    """Return the answer: a prediction a row, in the rows' order."""
    if form == JSON:
        return b'{"predictions": %s}' % json.dumps(predictions).encode()
    line = '{{"prediction": {!r}}}\n' if form == JSON_LINES else "{!r}\n"
    return "".join(map(line.format, predictions)).encode()


def _parse(value: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = value.strip().replace("\r", "").replace("\n", "")
    name, *rest = message.get_params(failobj=[("", "")])
    return name[0].lower(), {key.lower(): text.strip().lower() for key, text in rest}


# --- JSON -----------------------------------------------------------------------------------------


def _read_json(text: str, _: Mapping[str, str], schema: Schema) -> RequestRows:
    content = _load(text)
    if not isinstance(content, dict):
        raise RequestError(f"the body is a JSON object with one of {', '.join(FIELDS)}")
    given = [name for name in FIELDS if name in content]
    unknown = [name for name in content if name not in FIELDS and name not in OTHER_FIELDS]
    if len(given) != 1 or unknown:
        found = ", ".join(ascii(name)[:40] for name in list(content)[:5]) or "none"
        raise RequestError(f"the body has exactly one of {', '.join(FIELDS)}; there is: {found}")
    if content.get("params"):
        raise RequestError("params: the model takes none")
    (name,) = given
    rows = content[name]
    if name == "dataframe_split":
        return _from_split(rows, schema)
    if name == "inputs" and isinstance(rows, dict):
        return _from_columns(rows)
    if not isinstance(rows, list):
        raise RequestError(f"{name} is a list of rows")
    if rows and isinstance(rows[0], list) and name != "dataframe_records":
        return _from_lists(rows, schema.names)
    return _from_objects(rows, schema)


def _load(text: str, where: str = "") -> object:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise RequestError(f"{where}the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg[0].lower()}{error.msg[1:]}"
        at = f"line {error.lineno}, column {error.colno}" if not where else f"column {error.colno}"
        raise RequestError(f"{where}not JSON: {reason} at {at}") from None
    except ValueError:  # Python's limit on the digits of a number
        raise RequestError(f"{where}a number has too many digits") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RequestError(f"{ascii(twice)[:80]} is there twice in one object")
    return content


def _from_objects(rows: Sequence[Any], schema: Schema) -> RequestRows:
    for row, one in enumerate(rows, start=1):
        if type(one) is not dict:
            raise RequestError(f"row {row} is not an object of names and values")
    columns: dict[str, list[Any]] = {}
    for name in schema.names:
        try:
            columns[name] = [row[name] for row in rows]
        except KeyError:
            lacking = next(row for row, one in enumerate(rows, start=1) if name not in one)
            if name not in schema.required:
                columns[name] = [row.get(name) for row in rows]
            elif any(name in one for one in rows):
                raise RequestError(f'row {lacking}: the column "{name}" is missing') from None
    return RequestRows(columns, len(rows))


def _from_lists(
    rows: Sequence[Any], names: Sequence[str], noun: str = "row", textual: bool = False
) -> RequestRows:
    """Turn rows of values into columns."""
    for row, one in enumerate(rows, start=1):
        if type(one) is not list:
            raise RequestError(f"{noun} {row} is not a list of values")
        if len(one) != len(names):
            raise RequestError(f"{noun} {row} has {len(one)} values for {len(names)} columns")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return RequestRows(dict(zip(names, columns, strict=True)), len(rows), textual)


def _from_split(content: object, schema: Schema) -> RequestRows:
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise RequestError("dataframe_split is an object with columns and data, both lists")
    names = content.get("columns", list(schema.names))
    if not isinstance(names, list) or not all(type(one) is str for one in names):
        raise RequestError("dataframe_split: columns is a list of names")
    return _from_lists(content["data"], _distinct(names))


def _from_columns(columns: dict[str, Any]) -> RequestRows:
    lengths = set()
    for name, values in columns.items():
        if not isinstance(values, list):
            raise RequestError(f"inputs: {ascii(name)[:80]} is not a list of values")
        lengths.add(len(values))
        if len(lengths) > 1:
            raise RequestError(f"inputs: {ascii(name)[:80]} has not as many values as the others")
    return RequestRows(columns, lengths.pop() if lengths else 0)


def _distinct(names: Sequence[str]) -> Sequence[str]:
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise RequestError(f"the column {ascii(twice)[:80]} is there twice")
    return names


# --- CSV and JSON Lines ---------------------------------------------------------------------------


def _read_csv(text: str, parameters: Mapping[str, str], schema: Schema) -> RequestRows:
    header = parameters.get("header", "")
    if header not in {"", "present", "absent"}:
        raise RequestError("CSV's header is present or absent")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in reader if row)
    except csv.Error as error:
        raise RequestError(f"not CSV: {error} (line {reader.line_num})") from None
    if header == "present" or (not header and rows and _is_header(rows[0], schema.names)):
        names: Sequence[str] = _distinct([name.strip() for name in rows[0]])
        rows = rows[1:]
    else:
        names = schema.names
    return _from_lists(rows, names, textual=True)


def _is_header(row: Iterable[str], names: Sequence[str]) -> bool:
    """Tell whether a line names columns: more than half of its fields do."""
    known = set(names)
    fields = [field.strip() in known for field in row]
    return 2 * sum(fields) > len(fields)


def _read_lines(text: str, _: Mapping[str, str], schema: Schema) -> RequestRows:
    rows = [
        _load(line, f"line {number}: ")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if rows and isinstance(rows[0], list):
        return _from_lists(rows, schema.names)
    return _from_objects(rows, schema)


READERS: Mapping[str, Callable[[str, Mapping[str, str], Schema], RequestRows]] = {
    JSON: _read_json,
    CSV: _read_csv,
    JSON_LINES: _read_lines,
}
