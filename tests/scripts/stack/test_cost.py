"""`make cost`: every resource has a price, and both stages and kinds of egress are listed."""

import json
from pathlib import Path

import pytest

from aws.prices import PRICES_FILE, PriceList
from contract.errors import InfraError, SettingsError
from contract.names import StackName
from contract.paths import PROJECT_ROOT
from scripts.aws.pricing import FREE, PRICED, price_template, price_workloads
from scripts.aws.stage_cost import total
from tests.helpers import run
from tests.infra.conftest import VARIANTS, StageTemplates, stage_with, templates_by_variant

__all__ = ["templates_by_variant"]
PRICES = PriceList(PRICES_FILE)


def _monthly_usd(templates: StageTemplates) -> float:
    items = [
        item for name in StackName for item in price_template(templates.template(name), PRICES)
    ]
    assert all(item.monthly_usd > 0 and item.assumption for item in items)
    return total(items)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_resource_type_is_priced_or_free(
    variant: str, templates_by_variant: dict[str, StageTemplates]
) -> None:
    types = {
        resource["Type"]
        for stack in StackName
        for resource in templates_by_variant[variant].template(stack)["Resources"].values()
    }

    assert types <= PRICED.keys() | FREE.keys()
    assert not PRICED.keys() & FREE.keys()


def test_resource_type_without_a_price_is_reported() -> None:
    template = {"Resources": {"Big": {"Type": "AWS::Redshift::Cluster", "Properties": {}}}}

    with pytest.raises(InfraError, match=r"no price of AWS::Redshift::Cluster \(Big\)"):
        price_template(template, PRICES)


def test_task_of_a_service_is_priced_once(templates_by_variant: dict[str, StageTemplates]) -> None:
    template = templates_by_variant["dev-endpoints"].template(StackName.MLFLOW)
    categories = [item.category for item in price_template(template, PRICES)]

    assert categories.count("MLflow vCPUs") == 1
    assert categories.count("Bastion task") == 1


def test_production_costs_more_than_dev(templates_by_variant: dict[str, StageTemplates]) -> None:
    costs = {
        variant: _monthly_usd(templates) for variant, templates in templates_by_variant.items()
    }

    assert costs["dev-endpoints"] < 100
    assert costs["dev-nat"] < 90
    assert 200 < costs["prod-endpoints"] < 300


def test_costs_in_the_docs_are_those_of_the_templates(
    templates_by_variant: dict[str, StageTemplates],
) -> None:
    dev, prod = (
        f"{_monthly_usd(templates_by_variant[f'{stage}-endpoints']):.0f} USD"
        for stage in ("dev", "prod")
    )

    assert f"costs about {dev} per month" in (PROJECT_ROOT / "README.md").read_text()
    row = f"| cost per month, without a SageMaker endpoint | {dev} | {prod} |"
    assert row in (PROJECT_ROOT / "docs/operations.md").read_text()


def test_endpoint_and_training_jobs_are_priced_separately() -> None:
    endpoint, training = price_workloads(stage_with("prod", {}), PRICES)

    assert endpoint.monthly_usd == pytest.approx(2 * 730 * 0.115)
    assert training.monthly_usd == pytest.approx(5 * 0.23)


def test_instance_type_without_a_price_is_reported() -> None:
    stage = stage_with("dev", {"endpoint_instance_type": "ml.p5.48xlarge"})

    with pytest.raises(SettingsError, match=r"instance_hourly.'ml.p5.48xlarge' is missing"):
        price_workloads(stage, PRICES)


def test_missing_price_list_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"prices.toml: can't be loaded: "):
        PriceList(tmp_path / "prices.toml")


@pytest.mark.slow
def test_stages_and_kinds_of_egress_are_compared_side_by_side() -> None:
    done = run("scripts.stack.cost", folder=PROJECT_ROOT)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (header,) = [line for line in lines if "dev, nat" in line]
    variants = ["dev, endpoints", "dev, nat", "prod, endpoints", "prod, nat"]
    assert sorted(variants, key=header.index) == variants
    *_, totals = [line for line in lines if line.startswith("│ Total  ")]
    sums = [float(cell) for cell in totals.split("│")[2:-1]]
    assert len(sums) == 4
    assert sums[0] < sums[2]


@pytest.mark.slow
def test_json_contains_all_stages_and_kinds_of_egress() -> None:
    done = run("scripts.stack.cost", "--json", folder=PROJECT_ROOT)

    assert done.returncode == 0, done.stderr
    costs = json.loads(done.stdout)
    assert set(costs) == {"dev endpoints", "dev nat", "prod endpoints", "prod nat"}
    for cost in costs.values():
        assert cost["provisioned"]["monthly_usd"] > 50
        workloads = {item["category"] for item in cost["workloads"]["items"]}
        assert workloads == {"Endpoint", "Training jobs"}
    provisioned = {item["category"] for item in costs["dev nat"]["provisioned"]["items"]}
    assert "NAT gateways" in provisioned
