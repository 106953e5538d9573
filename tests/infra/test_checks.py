"""The checks at every synthesis, and that they fail on bad constructs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from infra.app import build_app
from infra.policy import Statement, create_role
from tests.helpers import VENV
from tests.infra.conftest import StageTemplates, stage_with


def _findings(folder: Path) -> list[str]:
    report = json.loads((folder / "validation-report.json").read_text())
    return [
        violation["ruleName"]
        for plugin in report["pluginReports"]
        for violation in plugin.get("violations", [])
    ]


def _base_stack(app: App) -> Stack:
    (base,) = [child for child in app.node.children if child.node.id.endswith("base")]
    assert isinstance(base, Stack)
    return base


def test_templates_have_no_findings(templates: StageTemplates) -> None:
    report = templates.folder / "validation-report.json"

    assert not report.exists() or not _findings(templates.folder)


def test_public_bucket_fails_the_synthesis(tmp_path: Path) -> None:
    app = build_app(stage_with("dev", {}), str(tmp_path))
    s3.Bucket(_base_stack(app), "Public")

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()

    findings = _findings(tmp_path)
    assert any("AwsSolutions-S1" in finding for finding in findings), findings
    assert any("AwsSolutions-S10" in finding for finding in findings), findings


def test_wildcard_without_a_reason_fails_the_synthesis(tmp_path: Path) -> None:
    app = build_app(stage_with("dev", {}), str(tmp_path))
    role = create_role(
        _base_stack(app),
        "WideRole",
        "Reads one object",
        iam.ServicePrincipal("sagemaker.amazonaws.com"),
        [Statement("Read", "only one object", ["s3:GetObject"], ["arn:aws:s3:::one/key"])],
    )
    role.add_to_policy(iam.PolicyStatement(actions=["s3:*"], resources=["*"]))

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()

    assert any("IAM5" in finding for finding in _findings(tmp_path))


def test_cfn_lint_passes(templates: StageTemplates) -> None:
    files = [
        str(templates.folder / f"{stack_name(templates.stage, name)}.template.json")
        for name in StackName
    ]
    process = subprocess.run(
        [str(VENV / "cfn-lint"), "--regions", templates.stage.region, "--", *files],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stdout


def test_two_syntheses_are_identical(
    tmp_path: Path, templates_by_variant: dict[str, StageTemplates]
) -> None:
    first = templates_by_variant["dev-endpoints"]
    own = {"STACK_STAGE": "dev", "STACK_INFRA__ALARM_EMAIL": first.stage.alarm_email}

    # In another process with another hash seed: sets are iterated in another order.
    subprocess.run(
        [sys.executable, "-m", "infra"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **own, "CDK_OUTDIR": str(tmp_path), "PYTHONHASHSEED": "4711"},
        check=True,
    )

    for stack in StackName:
        name = f"{stack_name(first.stage, stack)}.template.json"
        assert (tmp_path / name).read_bytes() == (first.folder / name).read_bytes()
