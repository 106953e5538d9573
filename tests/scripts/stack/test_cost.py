"""The bill: what `make cost` lists, and that nothing is left out of it."""

import json
from pathlib import Path

import pytest

from contract.errors import InfraError, SettingsError
from contract.names import StackName
from contract.paths import PROJECT_ROOT
from scripts.aws.pricing import FREE, PRICED, Prices, price_later, price_template
from tests.helpers import run
from tests.infra.conftest import VARIANTS, Synthesised, stage_with, synthesised

__all__ = ["synthesised"]
PRICES = Prices(PROJECT_ROOT / "scripts" / "aws" / "prices.toml")


def _month(stack: Synthesised) -> float:
    lines = [
        line
        for part in StackName
        for line in price_template(stack.template(part), stack.stage, PRICES)
    ]
    assert all(line.monthly > 0 and line.assumption for line in lines)
    return sum(line.monthly for line in lines)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_resource_type_is_priced_or_known_to_be_free(
    variant: str, synthesised: dict[str, Synthesised]
) -> None:
    kinds = {
        resource["Type"]
        for part in StackName
        for resource in synthesised[variant].template(part)["Resources"].values()
    }

    assert kinds <= PRICED.keys() | FREE.keys()
    assert not PRICED.keys() & FREE.keys()


def test_a_type_without_a_price_is_named() -> None:
    template = {"Resources": {"Big": {"Type": "AWS::Redshift::Cluster", "Properties": {}}}}

    with pytest.raises(InfraError, match=r"no price of AWS::Redshift::Cluster \(Big\)"):
        price_template(template, stage_with("dev", {}), PRICES)


def test_dev_is_cheap_and_production_has_twice_of_everything(
    synthesised: dict[str, Synthesised],
) -> None:
    months = {variant: _month(stack) for variant, stack in synthesised.items()}

    assert months["dev-endpoints"] < 90
    assert months["dev-nat"] < 90
    assert 200 < months["prod-endpoints"] < 300


def test_the_endpoint_comes_on_top() -> None:
    endpoint, training = price_later(stage_with("prod", {}), PRICES)

    assert endpoint.monthly == pytest.approx(2 * 730 * 0.115)
    assert training.monthly == pytest.approx(5 * 0.23)


def test_another_instance_needs_a_price(tmp_path: Path) -> None:
    stage = stage_with("dev", {"endpoint_instance_type": "ml.p5.48xlarge"})

    with pytest.raises(SettingsError, match=r"instance_hour.'ml.p5.48xlarge' is missing"):
        price_later(stage, PRICES)


@pytest.mark.slow
def test_stages_and_kinds_of_egress_stand_side_by_side() -> None:
    done = run("scripts.stack.cost", folder=PROJECT_ROOT)

    assert done.returncode == 0, done.stderr
    (heads,) = [line for line in done.stdout.splitlines() if "dev, nat" in line]
    order = ["dev, endpoints", "dev, nat", "prod, endpoints", "prod, nat"]
    assert sorted(order, key=heads.index) == order
    *_, last = [line for line in done.stdout.splitlines() if line.startswith("│ Together  ")]
    sums = [float(cell) for cell in last.split("│")[2:-1]]
    assert len(sums) == 4
    assert sums[0] < sums[2]


@pytest.mark.slow
def test_both_stages_and_both_kinds_of_egress_are_listed(folder: Path) -> None:
    done = run("scripts.stack.cost", "--json", folder=PROJECT_ROOT)

    assert done.returncode == 0, done.stderr
    bills = json.loads(done.stdout)
    assert set(bills) == {"dev endpoints", "dev nat", "prod endpoints", "prod nat"}
    for bill in bills.values():
        assert bill["provisioned"]["usd_a_month"] > 50
        assert {line["what"] for line in bill["later"]["lines"]} == {"Endpoint", "Training jobs"}
    assert any(line["what"] == "NAT gateways" for line in bills["dev nat"]["provisioned"]["lines"])
