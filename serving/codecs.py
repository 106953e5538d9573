"""Decode requests into columns, and encode predictions: JSON, CSV and JSON Lines.

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
JSON_FIELDS = ("instances", "inputs", "dataframe_split", "dataframe_records")
OPTIONAL_JSON_FIELDS = {"params"}
SUPPORTED = f"{JSON}, {CSV} or {JSON_LINES}"
HEADER_CACHE_SIZE = 64
"""Parsed header values are cached, because clients send the same ones with every request."""


@lru_cache(HEADER_CACHE_SIZE)
def parse_content_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """Return the format of a request, and the parameters of its media type.

    Raises:
        RequestError: The format or the character set is not supported (415).
    """
    name, parameters = _parse_media_type(content_type)
    if name not in MEDIA_TYPES:
        reason = f"unsupported content type {name[:80]}" if name else "no content type"
        raise RequestError(f"{reason}; use {SUPPORTED}", 415, "UNSUPPORTED_MEDIA_TYPE")
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        reason = f"unsupported charset {charset[:80]}; use utf-8"
        raise RequestError(reason, 415, "UNSUPPORTED_MEDIA_TYPE")
    return MEDIA_TYPES[name], parameters


@lru_cache(HEADER_CACHE_SIZE)
def negotiate_accept(accept: str) -> str:
    """Return the response format with the highest quality; the first one of equals, or JSON.

    Raises:
        RequestError: None of the accepted formats is supported (406).
    """
    wildcards = {"*/*": JSON, "application/*": JSON, "text/*": CSV}
    best_quality, best = 0.0, ""
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, parameters = _parse_media_type(part)
        media_type = MEDIA_TYPES.get(name) or wildcards.get(name)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0
        if media_type and quality > best_quality:
            best_quality, best = quality, media_type
    if not best:
        reason = f"no accepted response format is supported; accept {SUPPORTED}"
        raise RequestError(reason, 406, "NOT_ACCEPTABLE")
    return best


def decode(
    body: bytes, media_type: str, parameters: Mapping[str, str], schema: Schema
) -> RequestRows:
    """Decode the body of a request into columns.

    Args:
        body: The body as received.
        media_type: One of JSON, CSV and JSON_LINES.
        parameters: Those of the content type; for CSV `header=present` or `header=absent`.
        schema: The columns of the release, for rows without column names.

    Raises:
        RequestError: The body is not valid in this format, or its rows differ in their form.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not valid UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise RequestError("the body is empty")
    rows = DECODERS[media_type](text, parameters, schema)
    if not rows.row_count:
        raise RequestError("the body contains no rows")
    return rows


def encode(predictions: Sequence[float], media_type: str) -> bytes:
    """Encode the predictions, one per row, in the order of the rows."""
    if media_type == JSON:
        return b'{"predictions": %s}' % json.dumps(predictions).encode()
    line = '{{"prediction": {!r}}}\n' if media_type == JSON_LINES else "{!r}\n"
    return "".join(map(line.format, predictions)).encode()


def _parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = value.strip().replace("\r", "").replace("\n", "")
    name, *rest = message.get_params(failobj=[("", "")])
    return name[0].lower(), {key.lower(): text.strip().lower() for key, text in rest}


def _decode_json(text: str, _: Mapping[str, str], schema: Schema) -> RequestRows:
    content = _parse_json(text)
    fields = ", ".join(JSON_FIELDS)
    if not isinstance(content, dict):
        raise RequestError(f"expected a JSON object with one of {fields}")
    given = [name for name in JSON_FIELDS if name in content]
    unknown = content.keys() - JSON_FIELDS - OPTIONAL_JSON_FIELDS
    if len(given) != 1 or unknown:
        found = ", ".join(ascii(name)[:40] for name in list(content)[:5]) or "none"
        raise RequestError(f"expected exactly one of {fields}; found {found}")
    if content.get("params"):
        raise RequestError("params: the model has no parameters")
    (name,) = given
    rows = content[name]
    if name == "dataframe_split":
        return _from_split(rows, schema)
    if name == "inputs" and isinstance(rows, dict):
        return _from_columns(rows)
    if not isinstance(rows, list):
        raise RequestError(f"{name}: expected a list of rows")
    if rows and isinstance(rows[0], list) and name != "dataframe_records":
        return _from_lists(rows, schema.names)
    return _from_objects(rows, schema)


def _parse_json(text: str, where: str = "") -> object:
    try:
        return json.loads(text, object_pairs_hook=_refuse_duplicate_keys)
    except RecursionError:
        raise RequestError(f"{where}the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg[0].lower()}{error.msg[1:]}"
        at = f"line {error.lineno}, column {error.colno}" if not where else f"column {error.colno}"
        raise RequestError(f"{where}invalid JSON: {reason} at {at}") from None
    except ValueError:  # Python's limit on the digits of a number
        raise RequestError(f"{where}a number has too many digits") from None


def _refuse_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        duplicate = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RequestError(f"duplicate key {ascii(duplicate)[:80]} in a JSON object")
    return content


def _from_objects(rows: Sequence[Any], schema: Schema) -> RequestRows:
    for number, row in enumerate(rows, start=1):
        if type(row) is not dict:
            raise RequestError(f"row {number}: expected an object of column names and values")
    columns: dict[str, list[Any]] = {}
    for name in schema.names:
        try:
            columns[name] = [row[name] for row in rows]
        except KeyError:
            if name not in schema.required:
                columns[name] = [row.get(name) for row in rows]
            # A required column that no row has is reported by the schema, with all others.
            elif any(name in row for row in rows):
                first = next(number for number, row in enumerate(rows, 1) if name not in row)
                raise RequestError(f'row {first}: the column "{name}" is missing') from None
    return RequestRows(columns, len(rows))


def _from_lists(
    rows: Sequence[Any], names: Sequence[str], *, all_strings: bool = False
) -> RequestRows:
    """Transpose rows into columns."""
    for number, row in enumerate(rows, start=1):
        if type(row) is not list:
            raise RequestError(f"row {number}: expected a list of values")
        if len(row) != len(names):
            raise RequestError(f"row {number} has {len(row)} values for {len(names)} columns")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return RequestRows(dict(zip(names, columns, strict=True)), len(rows), all_strings)


def _from_split(content: object, schema: Schema) -> RequestRows:
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise RequestError("dataframe_split: expected an object with the lists columns and data")
    names = content.get("columns", list(schema.names))
    if not isinstance(names, list) or not all(type(name) is str for name in names):
        raise RequestError("dataframe_split: columns must be a list of names")
    _refuse_duplicate_columns(names)
    return _from_lists(content["data"], names)


def _from_columns(columns: dict[str, Any]) -> RequestRows:
    lengths = set()
    for name, values in columns.items():
        if not isinstance(values, list):
            raise RequestError(f"inputs: {ascii(name)[:80]} must be a list of values")
        lengths.add(len(values))
        if len(lengths) > 1:
            raise RequestError(f"inputs: {ascii(name)[:80]} and the first column differ in length")
    return RequestRows(columns, lengths.pop() if lengths else 0)


def _refuse_duplicate_columns(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        duplicate = Counter(names).most_common(1)[0][0]
        raise RequestError(f"duplicate column {ascii(duplicate)[:80]}")


def _decode_csv(text: str, parameters: Mapping[str, str], schema: Schema) -> RequestRows:
    header = parameters.get("header", "")
    if header not in {"", "present", "absent"}:
        raise RequestError("content type: header must be present or absent")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in reader if row)
    except csv.Error as error:
        raise RequestError(f"invalid CSV: {error} (line {reader.line_num})") from None
    names: Sequence[str] = schema.names
    if header == "present" or (not header and rows and _is_header(rows[0], names)):
        names = [name.strip() for name in rows.pop(0)]
        _refuse_duplicate_columns(names)
    return _from_lists(rows, names, all_strings=True)


def _is_header(row: Iterable[str], names: Sequence[str]) -> bool:
    """Return whether more than half of the fields are column names."""
    known = set(names)
    matches = [field.strip() in known for field in row]
    return 2 * sum(matches) > len(matches)


def _decode_json_lines(text: str, _: Mapping[str, str], schema: Schema) -> RequestRows:
    rows = [
        _parse_json(line, f"line {number}: ")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if rows and isinstance(rows[0], list):
        return _from_lists(rows, schema.names)
    return _from_objects(rows, schema)


DECODERS: Mapping[str, Callable[[str, Mapping[str, str], Schema], RequestRows]] = {
    JSON: _decode_json,
    CSV: _decode_csv,
    JSON_LINES: _decode_json_lines,
}
