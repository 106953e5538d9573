"""Requests held against the limits in botocore's service model: required, length, pattern, enum.

botocore's clients check only that the required parameters are there, and the types.
"""

import re
from typing import Any

import botocore.session
from botocore.model import Shape
from moto.sagemaker.exceptions import AWSValidationException


def check_request(service: str, operation: str, request: dict[str, Any]) -> None:
    """Raise a ValidationException for the first parameter that violates a limit."""
    model = botocore.session.get_session().get_service_model(service)
    _check(model.operation_model(operation).input_shape, request, "")


def _check(shape: Any, value: Any, name: str) -> None:
    _check_limits(shape, value, name)
    if shape.type_name == "structure":
        for member in set(shape.required_members) - set(value):
            raise _violation(value, f"{name}.{member}", "Member must not be null")
        for member, part in value.items():
            if member not in shape.members:
                raise _violation(value, f"{name}.{member}", "unknown parameter")
            _check(shape.members[member], part, f"{name}.{member}")
    elif shape.type_name == "list":
        for part in value:
            _check(shape.member, part, f"{name}.member")
    elif shape.type_name == "map":
        for key, part in value.items():
            _check(shape.key, key, f"{name}.key")
            _check(shape.value, part, f"{name}.{key}")


def _check_limits(shape: Shape, value: Any, name: str) -> None:
    limits = shape.metadata
    size = value if shape.type_name in {"integer", "long", "float", "double"} else None
    if size is None and shape.type_name in {"string", "list", "map"}:
        size = len(value)
    if size is not None and "min" in limits and size < limits["min"]:
        raise _violation(value, name, f"Member must have length or value at least {limits['min']}")
    if size is not None and "max" in limits and size > limits["max"]:
        raise _violation(value, name, f"Member must have length or value at most {limits['max']}")
    if shape.type_name == "string":
        if "enum" in limits and value not in limits["enum"]:
            raise _violation(value, name, f"Member must satisfy enum value set: {limits['enum']}")
        # Some patterns in the model are Java's, with classes that Python doesn't know.
        pattern = limits.get("pattern", "").replace(r"\p{L}", r"\w").replace(r"\p{Z}", r"\s")
        pattern = pattern.replace(r"\p{N}", r"\d")
        if pattern and not re.fullmatch(pattern, value, re.DOTALL):
            constraint = f"Member must satisfy regular expression pattern: {pattern}"
            raise _violation(value, name, constraint)


def _violation(value: Any, name: str, constraint: str) -> AWSValidationException:
    shown = str(value)[:80]
    where = name.lstrip(".")
    return AWSValidationException(
        f"1 validation error detected: Value '{shown}' at '{where}' failed to satisfy constraint: "
        f"{constraint}"
    )
