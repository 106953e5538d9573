"""The names of the model families. Imports no third-party library."""

from contract.errors import FamilyError
from contract.settings.loader import Settings

FAMILIES = {
    "ridge": "training.families.ridge:RidgeFamily",
    "elasticnet": "training.families.elasticnet:ElasticNetFamily",
    "xgboost": "training.families.xgb:XGBoostFamily",
}
"""Module and class of each family. Imported on first use, because some libraries load slowly."""


def check_family_names(settings: Settings) -> None:
    """Check the names in `training.families` and `[grids]`.

    Raises:
        FamilyError: A family is unknown or named twice.
    """
    names, known = settings.training.families, ", ".join(FAMILIES)
    for name in settings.grids:
        if name not in FAMILIES:
            raise FamilyError(f"grids.{name}: no such family; there are {known}")
    for name in names:
        if name not in FAMILIES:
            raise FamilyError(f"training.families: no family {name!r}; there are {known}")
    if len(set(names)) < len(names):
        raise FamilyError(f"training.families: a family appears twice: {', '.join(names)}")
