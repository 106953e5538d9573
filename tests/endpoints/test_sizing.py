"""How much memory a training needs, and which instance type has it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.instance_memory import Instance, list_training_instances
from contract.paths import PROJECT_ROOT
from endpoints.sagemaker.sizing import (
    LARGE_FAMILIES,
    MARGIN,
    TableShape,
    expected_memory_bytes,
    find_instance,
    is_large_enough,
    needed_memory_gib,
)

AMES = TableShape(2930, 81)
INSTANCES = list_training_instances()


def smallest(shape: TableShape, family: str) -> str:
    instance = find_instance(shape, family, INSTANCES)
    return instance.name if instance else ""


def test_ames_fits_the_smallest_instances() -> None:
    assert smallest(AMES, "m5") == "ml.m5.large"
    assert smallest(AMES, "t3") == "ml.t3.medium"
    assert smallest(AMES, "c5") == "ml.c5.xlarge"


sizes = st.integers(2, 10**8)
widths = st.integers(2, 5000)


@given(rows=sizes, columns=widths, vcpus=st.integers(2, 192), more=st.integers(1, 10**6))
def test_memory_grows_with_rows_columns_and_cpus(
    rows: int, columns: int, vcpus: int, more: int
) -> None:
    needed = needed_memory_gib(TableShape(rows, columns), vcpus)

    assert needed < needed_memory_gib(TableShape(rows + more, columns), vcpus)
    assert needed < needed_memory_gib(TableShape(rows, columns + more), vcpus)
    assert needed <= needed_memory_gib(TableShape(rows, columns), vcpus + more)


@given(rows=sizes, columns=widths, family=st.sampled_from(["m5", "c5", "m6i", "t3", "r7i"]))
def test_smaller_instance_of_the_family_is_not_large_enough(
    rows: int, columns: int, family: str
) -> None:
    shape = TableShape(rows, columns)
    found = find_instance(shape, family, INSTANCES)

    if not found:
        searched = [i for i in INSTANCES if i.family in {family, *LARGE_FAMILIES}]
        assert not any(is_large_enough(instance, shape) for instance in searched)
        return
    own = [instance for instance in INSTANCES if instance.family == family]
    assert is_large_enough(found, shape)
    smaller = [instance for instance in own if instance.memory_gib < found.memory_gib]
    assert not any(is_large_enough(instance, shape) for instance in smaller)


def test_family_with_more_memory_is_named_if_its_own_has_none() -> None:
    """The largest m5 has 384 GiB, the largest r5 768 and the largest r7i 1,536."""

    def table(gib: float) -> TableShape:
        """Return a table that needs so much memory on a large instance."""
        rows = 10**6
        while needed_memory_gib(TableShape(rows, 80), 96) < gib:
            rows = int(rows * 1.01)
        return TableShape(rows, 80)

    assert smallest(table(370), "m5") == "ml.m5.24xlarge"
    assert smallest(table(500), "m5").startswith("ml.r5.")
    assert smallest(table(700), "m6i").startswith("ml.r6i.")
    assert smallest(table(500), "t3").startswith("ml.r5.")
    assert smallest(table(1400), "m5") == "ml.r7i.48xlarge"
    assert smallest(table(2000), "m5") == ""


def test_shape_is_written_as_rows_and_columns() -> None:
    assert str(TableShape(12_000_000, 81)) == "12,000,000 rows x 81 columns"
    assert str(TableShape(12_000_000, 81, is_exact=False)) == ("about 12,000,000 rows x 81 columns")


def test_limit_is_exact() -> None:
    needed = needed_memory_gib(AMES, 2)

    assert is_large_enough(Instance("ml.m5.large", 2, needed), AMES)
    assert not is_large_enough(Instance("ml.m5.large", 2, needed - 0.01), AMES)


@pytest.mark.parametrize("family", ["m5", "m6i", "m7i"])
def test_first_stage_fits_what_the_readme_trains(family: str) -> None:
    assert smallest(AMES, family).endswith(".large")


def test_docs_name_the_instance_that_a_table_needs() -> None:
    page = (PROJECT_ROOT / "docs/performance.md").read_text()
    header, _, *rows = re.findall(r"^\| rows \| 20 columns.*\n(?:\|.*\n)+", page, flags=re.M)[
        0
    ].splitlines()
    columns = [int(text.replace(",", "")) for text in re.findall(r"([\d,]+) columns", header)]

    assert len(rows) == 4
    for row in rows:
        count, *names = [cell.strip(" `") for cell in row.strip("|").split("|")]
        shapes = [TableShape(int(count.replace(",", "")), number) for number in columns]
        assert names == [smallest(shape, "m5") or "none" for shape in shapes]


def test_docs_state_the_figures_of_the_memory_model() -> None:
    page = (PROJECT_ROOT / "docs/performance.md").read_text()
    points = re.findall(
        r"^\| ([\d,]+) \| ([\d,]+) \| (\d+) \| ([\d,]+) MB \| ([\d,]+) MB \|$", page, flags=re.M
    )

    assert len(points) >= 5
    for point in points:
        rows, columns, cpus, measured, expected = (int(cell.replace(",", "")) for cell in point)
        bound = expected_memory_bytes(TableShape(rows, columns), cpus) / 1e6
        assert expected == round(bound)
        assert measured < MARGIN * bound
