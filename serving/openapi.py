"""The OpenAPI description of the server and the release that it serves."""

from typing import Any

from contract.release import Column, Manifest
from serving.codecs import CSV, JSON, JSON_LINES

TYPES = {"long": "integer", "double": "number", "boolean": "boolean", "string": "string"}


def describe_api(manifest: Manifest, max_body_mb: float) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Args:
        manifest: Of the release that is served.
        max_body_mb: The largest body of a request, in MB (2**20 bytes).
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{manifest.model}: {manifest.label}",
            "version": manifest.version,
            "description": f"Model family: {manifest.family}. Maximum body: {max_body_mb:g} MB.",
        },
        "paths": {
            "/ping": {"get": _get("Check whether the model is loaded", {"503": "Not loaded yet"})},
            "/version": {"get": _get("The MLflow version that tracked the model", {})},
            "/invocations": {"post": _invocations()},
        },
        "components": {"schemas": _schemas(manifest)},
    }


def _get(summary: str, errors: dict[str, str]) -> dict[str, Any]:
    responses = {"200": "OK"} | errors
    return {
        "summary": summary,
        "responses": {code: {"description": text} for code, text in responses.items()},
    }


def _invocations() -> dict[str, Any]:
    error = {
        "description": "The error; its message names the row (counted from 1) and the column",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    text = {"schema": {"type": "string"}}
    predictions = {"schema": {"$ref": "#/components/schemas/Predictions"}}
    return {
        "summary": "Predict one value per row",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/Request"}},
                CSV: text,
                JSON_LINES: text,
            },
        },
        "responses": {
            "200": {
                "description": "The predictions, in the order of the rows",
                "content": {JSON: predictions, CSV: text, JSON_LINES: text},
            },
            **dict.fromkeys(("400", "406", "408", "413", "415"), error),
        },
    }


def _schemas(manifest: Manifest) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {column.name: _column(column) for column in manifest.columns},
        "required": [column.name for column in manifest.columns if column.required],
    }
    lists = {"type": "array", "items": {"type": "array"}}
    rows = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}
    names = {"type": "array", "items": {"type": "string"}}
    split = {
        "type": "object",
        "properties": {"columns": names, "data": lists, "index": {"type": "array"}},
        "required": ["data"],
    }
    bodies = {
        "instances": {"anyOf": [rows, lists]},
        "inputs": {
            "anyOf": [
                rows,
                lists,
                {"type": "object", "additionalProperties": {"type": "array"}},
            ]
        },
        "dataframe_split": split,
        "dataframe_records": rows,
    }
    return {
        "Row": row,
        "Request": {
            "oneOf": [
                {"type": "object", "properties": {name: body}, "required": [name]}
                for name, body in bodies.items()
            ]
        },
        "Predictions": {
            "type": "object",
            "properties": {"predictions": {"type": "array", "items": {"type": "number"}}},
            "required": ["predictions"],
        },
        "Error": {
            "type": "object",
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["error_code", "message"],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {"type": [TYPES[column.type], "null"]}
    if column.categories:
        described["description"] = f"Known categories: {', '.join(column.categories)}"
    return described
