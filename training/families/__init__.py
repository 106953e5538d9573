"""The model families, by the names that settings.toml uses."""

import importlib

from contract.errors import FamilyError
from training.families.base import Family, Fit, Regressor, WorkUnit
from training.family_registry import FAMILIES

__all__ = ["Family", "Fit", "Regressor", "WorkUnit", "load_family"]


def load_family(name: str) -> Family:
    """Return the family of this name.

    Raises:
        FamilyError: There is no family of this name, or it can't be loaded.
    """
    if name not in FAMILIES:
        raise FamilyError(f"training.families: no family {name!r}; there are {', '.join(FAMILIES)}")
    module, _, attribute = FAMILIES[name].partition(":")
    try:
        family = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise FamilyError(f"{FAMILIES[name]}: can't be loaded as a family: {error}") from error
    if not isinstance(family, Family):
        raise FamilyError(f"{FAMILIES[name]}: a family is a subclass of training.families.Family")
    return family
