"""Tables of monthly costs, on standard output."""

from collections.abc import Mapping

from rich.table import Table

from scripts.aws.pricing import CostItem
from scripts.aws.stage_cost import Egress, StageCost, total
from scripts.console import table_console

MIN_WIDTH = 120
TOTALS = {"provisioned": "Total", "workloads": "Total of the workloads"}


def print_stage(
    name: str, costs: Mapping[Egress, StageCost], prices: str, by_resource: bool
) -> None:
    """Print the costs of a stage, with one pair of columns per kind of egress.

    Args:
        name: The stage.
        costs: Its costs by kind of egress.
        prices: The region and date of the prices.
        by_resource: Whether each resource has its own row; by default each category has one.
    """
    table = _table(f"Stage {name}, US dollars per month (prices: {prices})")
    table.add_column("unit price", justify="right")
    for egress in costs:
        table.add_column(f"{egress}: quantity", justify="right")
        table.add_column("USD", justify="right")
    table.add_column("assumption")
    for kind, title in TOTALS.items():
        columns = [_group(getattr(cost, kind), by_resource) for cost in costs.values()]
        for row in dict.fromkeys(row for column in columns for row in column):
            groups = [column.get(row, []) for column in columns]
            first = next(group[0] for group in groups if group)
            cells = [cell for group in groups for cell in _cells(group)]
            table.add_row(row, f"{first.unit_price:g}", *cells, first.assumption)
        sums = [cell for cost in costs.values() for cell in ("", _usd(getattr(cost, kind)))]
        table.add_row(title, "", *sums, "", style="bold", end_section=True)
    table_console(MIN_WIDTH).print(table)


def print_comparison(costs: Mapping[tuple[str, Egress], StageCost], prices: str) -> None:
    """Print the costs of all stages and kinds of egress side by side, one row per category."""
    table = _table(f"Comparison, US dollars per month (prices: {prices})")
    for name, egress in costs:
        table.add_column(f"{name}, {egress}", justify="right")
    for kind, title in TOTALS.items():
        columns = [_group(getattr(cost, kind), by_resource=False) for cost in costs.values()]
        for row in dict.fromkeys(row for column in columns for row in column):
            cells = [_usd(column[row]) if row in column else "" for column in columns]
            table.add_row(row, *cells)
        sums = [_usd(getattr(cost, kind)) for cost in costs.values()]
        table.add_row(title, *sums, style="bold", end_section=True)
    table_console(MIN_WIDTH).print(table)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    return table


def _group(items: list[CostItem], by_resource: bool) -> dict[str, list[CostItem]]:
    """Return items by the title of their row."""
    groups: dict[str, list[CostItem]] = {}
    for item in items:
        own_row = by_resource and item.resource
        title = f"{item.category}: {item.resource}" if own_row else item.category
        groups.setdefault(title, []).append(item)
    return groups


def _cells(items: list[CostItem]) -> tuple[str, str]:
    """Return the quantity and the cost of a row's items."""
    if not items:
        return "", ""
    quantity = sum(item.quantity for item in items)
    return f"{quantity:,.0f} {items[0].unit}", _usd(items)


def _usd(items: list[CostItem]) -> str:
    return f"{total(items):,.2f}"
