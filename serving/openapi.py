"""What the server takes and gives, as an OpenAPI description of the release that it serves."""

from typing import Any

from contract.release import Column, Manifest
from serving.codecs import CSV, JSON, JSON_LINES

TYPES = {"long": "integer", "double": "number", "boolean": "boolean", "string": "string"}


def describe(manifest: Manifest, max_bytes: int) -> dict[str, Any]:
    """Return the description; OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{manifest.model}: {manifest.label}",
            "version": manifest.version,
            "description": f"{manifest.family}. A body has at most {max_bytes} bytes.",
        },
        "paths": {
            "/ping": {"get": _plain("Whether the model is loaded", {"503": "Being loaded"})},
            "/version": {"get": _plain("The version of MLflow that it was tracked with", {})},
            "/invocations": {"post": _invocations()},
        },
        "components": {"schemas": _schemas(manifest)},
    }


def _plain(summary: str, others: dict[str, str]) -> dict[str, Any]:
    answers = {"200": "Yes"} | others
    return {
        "summary": summary,
        "responses": {code: {"description": text} for code, text in answers.items()},
    }


def _invocations() -> dict[str, Any]:
    refused = {
        "description": "What is wrong, naming the row (counted from 1) and the column",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    text = {"schema": {"type": "string"}}
    answer = {"schema": {"$ref": "#/components/schemas/Predictions"}}
    return {
        "summary": "A prediction a row",
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
                "description": "The predictions, in the rows' order",
                "content": {JSON: answer, CSV: text, JSON_LINES: text},
            },
            **dict.fromkeys(("400", "406", "408", "413", "415"), refused),
        },
    }


def _schemas(manifest: Manifest) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {column.name: _column(column) for column in manifest.columns},
        "required": [column.name for column in manifest.columns if column.required],
    }
    values = {"type": "array", "items": {"type": "array"}}
    rows = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}
    names = {"type": "array", "items": {"type": "string"}}
    split = {
        "type": "object",
        "properties": {"columns": names, "data": values, "index": {"type": "array"}},
        "required": ["data"],
    }
    forms = {
        "instances": {"anyOf": [rows, values]},
        "inputs": {
            "anyOf": [
                rows,
                values,
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
                {"type": "object", "properties": {name: form}, "required": [name]}
                for name, form in forms.items()
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
        described["description"] = f"Known: {', '.join(column.categories)}"
    return described
