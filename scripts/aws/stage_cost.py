"""The monthly cost of stages, calculated from their synthesized templates."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aws.prices import PriceList, load_prices
from contract.errors import InfraError
from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings
from contract.settings.stage import Stage
from scripts.aws.pricing import CostItem, price_template, price_workloads

Egress = Literal["nat", "endpoints"]
EGRESS: tuple[Egress, ...] = ("endpoints", "nat")
EMAIL_PLACEHOLDER = "team@example.com"
"""Used where the settings have no alarm email, which production requires; it costs nothing."""


@dataclass(frozen=True)
class StageCost:
    """The monthly cost of a stage."""

    provisioned: list[CostItem]
    """What `make deploy` creates."""
    workloads: list[CostItem]
    """What the endpoint and training jobs add."""

    def as_json(self) -> dict[str, object]:
        """Return the costs in plain types, for a program to parse."""
        return {
            kind: {
                "monthly_usd": round(total(items), 2),
                "items": [vars(item) | {"monthly_usd": item.monthly_usd} for item in items],
            }
            for kind, items in vars(self).items()
        }


def total(items: list[CostItem]) -> float:
    """Return the sum of costs per month, in US dollars."""
    return sum(item.monthly_usd for item in items)


def monthly_cost(stage: Stage, assembly: Path) -> float:
    """Return the monthly cost of a stage's synthesized templates, in US dollars."""
    return total(_price_stacks(stage, assembly, load_prices()))


def calculate_costs(
    settings: Settings, prices: PriceList
) -> Mapping[tuple[str, Egress], StageCost]:
    """Return the cost of every stage with either kind of egress.

    Raises:
        InfraError: A stage's templates can't be synthesized, or a resource has no price.
    """
    variants = [(name, egress) for name in settings.stages for egress in EGRESS]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:

        def calculate(variant: tuple[str, Egress]) -> StageCost:
            return _calculate_cost(settings, *variant, Path(scratch), prices)

        return dict(zip(variants, pool.map(calculate, variants), strict=True))


def _calculate_cost(
    settings: Settings, name: str, egress: Egress, scratch: Path, prices: PriceList
) -> StageCost:
    own = settings.stages[name]
    email = own.get("alarm_email") or settings.infra.get("alarm_email") or EMAIL_PLACEHOLDER
    assembly = scratch / f"{name}-{egress}"
    _synthesize(name, egress, email, assembly)
    variant = {**own, "egress": egress, "alarm_email": email}
    stages = {**settings.stages, name: variant}
    stage = settings.model_copy(update={"stages": stages}).get_stage(name)
    return StageCost(_price_stacks(stage, assembly, prices), price_workloads(stage, prices))


def _synthesize(name: str, egress: Egress, email: str, assembly: Path) -> None:
    """Synthesize the templates of a variant into a folder of their own, by running the CDK app."""
    prefix = f"STACK_STAGES__{name.upper()}__"
    result = subprocess.run(
        [sys.executable, "-m", "infra"],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "STACK_STAGE": name,
            f"{prefix}EGRESS": egress,
            f"{prefix}ALARM_EMAIL": email,
            "CDK_OUTDIR": str(assembly),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise InfraError(f"stage {name} with {egress}: {reason.removeprefix('error: ')}")


def _price_stacks(stage: Stage, assembly: Path, prices: PriceList) -> list[CostItem]:
    return [
        item
        for stack in StackName
        for item in price_template(
            json.loads((assembly / f"{stack_name(stage, stack)}.template.json").read_text()),
            prices,
        )
    ]
