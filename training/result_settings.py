"""The settings that affect the results of a training. Imports no third-party library."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contract.settings.loader import Settings

RESULT_SETTINGS: Mapping[str, frozenset[str]] = {
    "data": frozenset(
        {
            "label",
            "id",
            "drop",
            "missing_values",
            "categorical",
            "missing_as_category",
            "validation_fraction",
            "seed",
        }
    ),
    "features": frozenset({"n_neighbors", "max_donors"}),
    "training": frozenset({"metric"}),
}
"""The keys, by section.

Tables are covered by their content, families and grids by their combinations. Where runs are
tracked, released and served affects no result.
"""


def result_settings(settings: "Settings") -> dict[str, Any]:
    """Return the settings that affect results, in plain types."""
    keys = {section: set(names) for section, names in RESULT_SETTINGS.items()}
    return settings.model_dump(mode="json", include=keys)
