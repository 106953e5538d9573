"""List what each stage costs per month: `make cost`."""

import json
import logging
from typing import Annotated

import typer

from aws.prices import load_prices
from contract.settings.loader import load_settings
from scripts.aws.cost_tables import print_comparison, print_stage
from scripts.aws.stage_cost import EGRESS, calculate_costs
from scripts.console import main
from scripts.options import JsonOption

logger = logging.getLogger(__name__)


def command(
    as_json: JsonOption = False,
    by_resource: Annotated[
        bool, typer.Option("--by-resource", help="Print one row per resource.")
    ] = False,
) -> None:
    """List the monthly costs of each stage, with both kinds of egress side by side."""
    settings, prices = load_settings(), load_prices()
    logger.info(
        "Synthesizing the templates of each stage with either kind of egress (10 s or more)"
    )
    costs = calculate_costs(settings, prices)
    if as_json:
        by_variant = {f"{name} {egress}": cost.as_json() for (name, egress), cost in costs.items()}
        print(json.dumps(by_variant, indent=2))
        return
    for name in settings.stages:
        by_egress = {egress: costs[name, egress] for egress in EGRESS}
        print_stage(name, by_egress, prices.description, by_resource)
    print_comparison(costs, prices.description)


if __name__ == "__main__":
    main(command)
