"""The file of AWS's prices, for what a stage costs per month and what a job costs."""

import os
import tomllib
from pathlib import Path

from contract.errors import SettingsError

PRICES_FILE = Path(__file__).with_name("prices.toml")


class PriceList:
    """The file of prices and assumptions."""

    def __init__(self, file: Path) -> None:
        """Load the file.

        Raises:
            SettingsError: The file is missing or not valid TOML.
        """
        try:
            self._content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{file.name}: can't be loaded: {error}") from None
        self._name = file.name

    def get(self, table: str, key: str) -> float:
        """Return a price or an assumption.

        Raises:
            SettingsError: The file lacks it.
        """
        try:
            return float(self._content[table][key])
        except (KeyError, TypeError, ValueError):
            raise SettingsError(f"{self._name}: {table}.{key!r} is missing") from None

    @property
    def description(self) -> str:
        """The region and the date of the prices."""
        return f"{self._content.get('region', '?')}, {self._content.get('as_of', '?')}"


def load_prices() -> PriceList:
    """Load the file that STACK_PRICES names, by default the project's prices.toml.

    Raises:
        SettingsError: The file is missing or not valid TOML.
    """
    return PriceList(Path(os.environ.get("STACK_PRICES") or PRICES_FILE))
