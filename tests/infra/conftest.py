"""The templates of every setting that matters, synthesised once."""

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
from infra.app import build

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


@dataclass(frozen=True)
class Synthesised:
    """A stage's templates."""

    stage: Stage
    folder: Path

    def template(self, part: StackName) -> dict[str, Any]:
        file = self.folder / f"{stack_name(self.stage, part)}.template.json"
        return dict(json.loads(file.read_text()))

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every resource of a type, by its logical id, with all that is said of it."""
        for part in StackName:
            for name, resource in self.template(part)["Resources"].items():
                if resource["Type"] == kind:
                    yield name, resource

    def properties(self, kind: str) -> list[dict[str, Any]]:
        found = [resource["Properties"] for _, resource in self.of_type(kind)]
        assert found, f"there is no {kind}"
        return found

    def statements(self) -> list[tuple[str, dict[str, Any]]]:
        """Every statement of every role, with the role's name."""
        return [
            (name, statement)
            for name, role in self.of_type("AWS::IAM::Role")
            for policy in role["Properties"].get("Policies", [])
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def containers(self, suffix: str) -> list[dict[str, Any]]:
        """The containers of the tasks whose families end so."""
        return [
            container
            for task in self.properties("AWS::ECS::TaskDefinition")
            if task["Family"].endswith(suffix)
            for container in task["ContainerDefinitions"]
        ]

    @property
    def text(self) -> str:
        return "".join(json.dumps(self.template(part)) for part in StackName)


def listed(value: Any) -> list[Any]:
    """What CloudFormation writes without its list where it is one."""
    return value if isinstance(value, list) else [value]


def stage_with(name: str, changes: Mapping[str, Any]) -> Stage:
    """A stage of the project's own settings, with an address and some changes."""
    settings = load_settings(PROJECT_ROOT / "settings.toml")
    own = {**settings.stages[name], "alarm_email": "team@example.com", **changes}
    return settings.model_copy(update={"stages": {name: own}}).get_stage(name)


@pytest.fixture(scope="session")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesised]:
    found = {}
    for variant, (name, changes) in VARIANTS.items():
        folder = tmp_path_factory.mktemp(variant)
        stage = stage_with(name, changes)
        build(stage, str(folder)).synth()
        found[variant] = Synthesised(stage, folder)
    return found


@pytest.fixture(params=VARIANTS)
def stack(request: pytest.FixtureRequest, synthesised: dict[str, Synthesised]) -> Synthesised:
    """Each of them in turn."""
    return synthesised[request.param]
