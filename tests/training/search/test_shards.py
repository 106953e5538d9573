"""The shares of hosts: a partition of the combinations, in whole units, balanced by cost."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import FamilyError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from training.cluster import Cluster
from training.families import Family, Regressor, WorkUnit, load_family
from training.params import Params, combinations
from training.plan import combination_names
from training.search.grid import FamilyGrid, plan_grids
from training.search.shards import assign_shares, unit_cost

RIDGE, ELASTICNET, XGBOOST = (load_family(name) for name in ("ridge", "elasticnet", "xgboost"))


def _cluster(hosts: int) -> Cluster:
    return Cluster("job", tuple(f"algo-{number}" for number in range(1, hosts + 1)), "algo-1")


def _grid(name: str, family: Family) -> st.SearchStrategy[FamilyGrid]:
    values: dict[str, st.SearchStrategy[bool | float | int]] = {
        "alpha": st.floats(0.1, 100),
        "fit_intercept": st.booleans(),
        "positive": st.booleans(),  # Ridge can't share work among those
        "n_estimators": st.integers(1, 2000),
        "max_depth": st.integers(0, 40),
        "learning_rate": st.floats(0.01, 1),
    }
    own = ["alpha", "fit_intercept", "positive"] if family is not XGBOOST else list(values)[3:]
    grids = st.fixed_dictionaries(
        {key: st.lists(values[key], min_size=1, max_size=3, unique=True) for key in own}
    )
    return grids.map(
        lambda grid: FamilyGrid(
            name, family, combinations(name, {key: tuple(grid[key]) for key in own}, {})
        )
    )


GRIDS = st.tuples(_grid("ridge", RIDGE), _grid("elasticnet", ELASTICNET), _grid("xgboost", XGBOOST))


def _cost(grids: Sequence[FamilyGrid]) -> float:
    return sum(
        unit_cost(unit) for grid in grids for unit in grid.family.work_units(grid.combinations)
    )


@given(GRIDS, st.integers(1, 40))
def test_every_combination_is_in_exactly_one_share(grids: Sequence[FamilyGrid], hosts: int) -> None:
    shares = assign_shares(grids, _cluster(hosts))

    assert len(shares) == hosts
    found = [name for share in shares.values() for name in combination_names(share)]
    assert sorted(found) == sorted(combination_names(grids))


@given(GRIDS, st.integers(1, 12))
def test_combinations_that_share_work_stay_together(
    grids: Sequence[FamilyGrid], hosts: int
) -> None:
    shares = assign_shares(grids, _cluster(hosts))

    for grid in grids:
        for unit in grid.family.work_units(grid.combinations):
            names = {grid.combination_name(params) for params in unit.combinations}
            assert [names <= set(combination_names(share)) for share in shares.values()].count(
                True
            ) == 1


@given(GRIDS, st.integers(1, 12))
def test_costs_of_two_hosts_differ_by_one_unit_at_most(
    grids: Sequence[FamilyGrid], hosts: int
) -> None:
    costs = [_cost(share) for share in assign_shares(grids, _cluster(hosts)).values()]

    largest = max(
        unit_cost(unit) for grid in grids for unit in grid.family.work_units(grid.combinations)
    )
    assert max(costs) - min(costs) <= largest * 1.000001


@given(GRIDS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_share_does_not_depend_on_any_order(
    grids: Sequence[FamilyGrid], hosts: int, random: Random
) -> None:
    cluster = _cluster(hosts)
    names = list(cluster.hosts)
    random.shuffle(names)
    mixed = []
    for grid in grids:
        params = list(grid.combinations)
        random.shuffle(params)
        mixed.append(replace(grid, combinations=params))
    random.shuffle(mixed)

    expected = assign_shares(grids, cluster)
    found = assign_shares(mixed, replace(cluster, hosts=tuple(names), current_host=names[0]))

    assert {host: set(combination_names(share)) for host, share in found.items()} == {
        host: set(combination_names(share)) for host, share in expected.items()
    }


def test_shares_of_the_default_grids_are_balanced() -> None:
    """The most and the least expensive share, for up to as many hosts as there are boosters."""
    grids = plan_grids(load_settings(PROJECT_ROOT / "settings.toml"))

    for hosts, limit in ((2, 1.02), (3, 1.05), (4, 1.15), (8, 1.5)):
        costs = [_cost(share) for share in assign_shares(grids, _cluster(hosts)).values()]
        assert max(costs) / (sum(costs) / hosts) < limit, hosts


def test_more_hosts_than_units_leave_some_without_combinations() -> None:
    grid = FamilyGrid("ridge", RIDGE, [{"alpha": 1}, {"alpha": 2}])

    shares = assign_shares([grid], _cluster(3))

    assert [len(combination_names(share)) for share in shares.values()] == [2, 0, 0]


class _ForgetfulFamily(Family):
    """Returns units without its last combination."""

    def model(self, params: Params, seed: int) -> Regressor:
        raise NotImplementedError

    def work_units(self, combinations: Sequence[Params]) -> Sequence[WorkUnit]:
        return super().work_units(combinations[:-1])


def test_units_that_are_no_partition_are_refused() -> None:
    grid = FamilyGrid("forgetful", _ForgetfulFamily(), [{"alpha": 1}, {"alpha": 2}])

    with pytest.raises(FamilyError, match="_ForgetfulFamily: work_units"):
        assign_shares([grid], _cluster(2))


def test_units_are_what_each_family_fits_together() -> None:
    grids = plan_grids(load_settings(PROJECT_ROOT / "settings.toml"))

    units = {grid.name: grid.family.work_units(grid.combinations) for grid in grids}

    assert [len(unit.combinations) for unit in units["ridge"]] == [3, 3]
    assert [len(unit.combinations) for unit in units["elasticnet"]] == [9, 9]
    assert [len(unit.combinations) for unit in units["xgboost"]] == [3] * 18
    for unit in units["xgboost"]:
        (rest,) = {
            tuple((key, value) for key, value in params.items() if key != "n_estimators")
            for params in unit.combinations
        }
        assert len(rest) == 3
    for name in ("ridge", "elasticnet"):
        for unit in units[name]:
            assert len({params["fit_intercept"] for params in unit.combinations}) == 1


def test_combination_that_shares_no_work_is_a_unit_of_its_own() -> None:
    own: list[Params] = [{"alpha": 1, "positive": value} for value in (True, False)]

    units = RIDGE.work_units([*own, {"alpha": 1}, {"alpha": 2}])

    assert sorted(len(unit.combinations) for unit in units) == [1, 1, 2]
