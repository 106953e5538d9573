"""Fixtures: the templates of every relevant variant of the settings, synthesized once."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from contract.settings.stage import Stage
from infra.app import build_app

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/abc"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dev-endpoints": ("dev", {"egress": "endpoints"}),
    "dev-nat": ("dev", {"egress": "nat"}),
    "prod-endpoints": ("prod", {"egress": "endpoints"}),
    "prod-nat": ("prod", {"egress": "nat"}),
    "prod-certificate": (
        "prod",
        {"certificate_arn": CERTIFICATE, "mlflow_domain": "mlflow.example.com"},
    ),
}
"""The stage and the changed settings of each variant."""


@dataclass(frozen=True)
class StageTemplates:
    """The synthesized templates of a stage."""

    stage: Stage
    folder: Path

    def template(self, name: StackName) -> dict[str, Any]:
        """Return the template of a stack."""
        file = self.folder / f"{stack_name(self.stage, name)}.template.json"
        return dict(json.loads(file.read_text()))

    def resources(self, resource_type: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the logical id and the definition of every resource of a type."""
        for name in StackName:
            for logical_id, resource in self.template(name)["Resources"].items():
                if resource["Type"] == resource_type:
                    yield logical_id, resource

    def properties(self, resource_type: str) -> list[dict[str, Any]]:
        """Return the properties of every resource of a type; there must be at least one."""
        found = [resource["Properties"] for _, resource in self.resources(resource_type)]
        assert found, f"no {resource_type} in the templates"
        return found

    def security_group(self, description: str) -> dict[str, Any]:
        """Return the security group whose description starts with `description`."""
        (found,) = [
            group
            for group in self.properties("AWS::EC2::SecurityGroup")
            if group["GroupDescription"].startswith(description)
        ]
        return found

    def statements(self) -> list[tuple[str, dict[str, Any]]]:
        """Return every statement of every role, with the role's logical id."""
        return [
            (logical_id, statement)
            for logical_id, role in self.resources("AWS::IAM::Role")
            for policy in role["Properties"].get("Policies", [])
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def containers(self, family_suffix: str) -> list[dict[str, Any]]:
        """Return the containers of the task definitions whose family ends with a suffix."""
        return [
            container
            for task in self.properties("AWS::ECS::TaskDefinition")
            if task["Family"].endswith(family_suffix)
            for container in task["ContainerDefinitions"]
        ]

    @property
    def text(self) -> str:
        """The text of all templates."""
        return "".join(json.dumps(self.template(name)) for name in StackName)


def as_list(value: Any) -> list[Any]:
    """Return a property as a list; CloudFormation may write a single element without one."""
    return value if isinstance(value, list) else [value]


def stage_with(name: str, changes: Mapping[str, Any]) -> Stage:
    """Return a stage of the project's own settings.toml, with an email address and some changes."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    own = {**settings.stages[name], "alarm_email": "team@example.com", **changes}
    return settings.model_copy(update={"stages": {name: own}}).get_stage(name)


@pytest.fixture(scope="session")
def templates_by_variant(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageTemplates]:
    found = {}
    for variant, (name, changes) in VARIANTS.items():
        folder = tmp_path_factory.mktemp(variant)
        stage = stage_with(name, changes)
        build_app(stage, str(folder)).synth()
        found[variant] = StageTemplates(stage, folder)
    return found


@pytest.fixture(params=VARIANTS)
def templates(
    request: pytest.FixtureRequest, templates_by_variant: dict[str, StageTemplates]
) -> StageTemplates:
    """The templates of each variant in turn."""
    return templates_by_variant[request.param]
