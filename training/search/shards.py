"""The share of each host of a training: whole units of work, balanced by their cost.

A share is a function of the grids and of the hosts' names only. What is tracked already plays no
part: hosts would read it at different times, and a combination could be trained twice or not at
all. After an interruption the rest may therefore be distributed unevenly.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from contract.errors import FamilyError
from training.cluster import Cluster
from training.families.base import WorkUnit
from training.search.grid import FamilyGrid

TRACKING_COST = 0.3
"""Seconds to track a combination, as `WorkUnit.cost`: writing its model and its run.

Measured: 0.35 s on the Ames table, beside fits on all cores. The default grids take as long to
track (78 combinations) as to fit on two cores.
"""


def assign_shares(grids: Sequence[FamilyGrid], cluster: Cluster) -> Mapping[str, list[FamilyGrid]]:
    """Return the grids that each host fits, by host.

    The most expensive unit first, each goes to the host with the lowest cost so far, which takes at
    most 4/3 of the optimal time (Graham: Bounds on multiprocessing timing anomalies, 1969). The
    names of combinations and hosts resolve ties.

    A share has all families, some of them without combinations. If there are more hosts than units,
    some shares have none at all.

    Raises:
        FamilyError: A family's `work_units` are not a partition of its combinations.
    """
    hosts = sorted(cluster.hosts)
    costs = dict.fromkeys(hosts, 0.0)
    host_of: dict[str, str] = {}
    for names, cost in sorted(_units(grids), key=lambda unit: (-unit[1], unit[0])):
        host = min(hosts, key=lambda host: (costs[host], host))
        costs[host] += cost
        host_of |= dict.fromkeys(names, host)
    return {host: [_share(grid, host, host_of) for grid in grids] for host in hosts}


def unit_cost(unit: WorkUnit) -> float:
    """Return the cost of fitting and tracking a unit."""
    return unit.cost + TRACKING_COST * len(unit.combinations)


def _units(grids: Sequence[FamilyGrid]) -> list[tuple[list[str], float]]:
    """Return the names of each unit's combinations, sorted, and its cost."""
    units: list[tuple[list[str], float]] = []
    for grid in grids:
        own = grid.family.work_units(grid.combinations)
        names = [sorted(map(grid.combination_name, unit.combinations)) for unit in own]
        found = Counter(name for unit in names for name in unit)
        if found != Counter(map(grid.combination_name, grid.combinations)):
            raise FamilyError(f"{type(grid.family).__name__}: work_units changes the combinations")
        units += zip(names, map(unit_cost, own), strict=True)
    return units


def _share(grid: FamilyGrid, host: str, host_of: Mapping[str, str]) -> FamilyGrid:
    own = [params for params in grid.combinations if host_of[grid.combination_name(params)] == host]
    return replace(grid, combinations=own)
