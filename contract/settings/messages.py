"""One-line messages for pydantic's validation errors."""

import difflib
import os
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

ENV_PREFIX = "STACK_"
"""Environment variables named STACK_<SECTION>__<KEY> override settings.toml."""


def explain(error: ValidationError, source: str, root: type[BaseModel]) -> str:
    """Return the first of pydantic's errors as one line that names the key.

    Args:
        error: What pydantic raised.
        source: The file's name, for a key that is not set by an environment variable.
        root: The validated model, whose fields are suggested for an unknown key.
    """
    # pydantic reports a misspelled key as unknown and as missing; only the first says what to fix.
    first, *others = sorted(error.errors(), key=lambda finding: finding["type"] == "missing")
    parts = [str(part) for part in first["loc"] if part not in {"str", "int", "float", "bool"}]
    key = ".".join(parts)
    variable = ENV_PREFIX + "__".join(parts).upper()
    where = f"environment: {variable}" if variable in os.environ else f"{source}: {key}"
    if first["type"] == "extra_forbidden":
        reason = "unknown setting" + suggest(parts[-1], _sibling_keys(root, parts[:-1]))
    elif first["type"] == "missing":
        reason = "is not set"
    elif first["type"] == "value_error":  # our own message, which includes the value
        reason = _reason(first["msg"])
    else:
        reason = f"{_reason(first['msg'])}, not {first['input']!r:.80}"
    return f"{where}: {reason}" + (f" (and {len(others)} more)" if others else "")


def explain_stage(
    error: ValidationError,
    source: str,
    name: str,
    own_keys: Mapping[str, object],
    model: type[BaseModel],
) -> str:
    """Return the first of pydantic's errors about a stage as one line that names the key.

    Args:
        error: What pydantic raised.
        source: The file's name.
        name: The stage.
        own_keys: The stage's own section; any other key comes from `[infra]`.
        model: The stage's model.
    """
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    where = f"{source}: {f'stages.{name}' if not key or key in own_keys else 'infra'}"
    if not key:  # an error about several keys; its message starts with the one to fix
        return f"{where}.{_reason(first['msg'])}"
    where += f".{key}"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown setting{suggest(key, set(model.model_fields))}"
    if first["type"] == "missing":
        return f"{where}: is not set"
    if first["type"] == "string_pattern_mismatch":
        examples = " or ".join(map(str, model.model_fields[key].examples or ()))
        return f"{where}: expected a value like {examples}, not {first['input']!r}"
    return f"{where}: {_reason(first['msg'])}, not {first['input']!r}"


def suggest(word: str, known: set[str]) -> str:
    """Return `; did you mean X?` for the closest known word, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _reason(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _sibling_keys(root: type[BaseModel], parents: list[str]) -> set[str]:
    fields = root.model_fields
    for parent in parents:
        model = fields[parent].annotation
        fields = (
            model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        )
    return set(fields)
