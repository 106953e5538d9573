"""What is checked at every synthesis, and that the checks bite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from contract.names import StackName, stack_name
from contract.paths import PROJECT_ROOT
from infra.app import build
from infra.policy import Statement, role
from tests.helpers import VENV
from tests.infra.conftest import Synthesised, stage_with


def _findings(folder: Path) -> list[str]:
    report = json.loads((folder / "validation-report.json").read_text())
    return [
        violation["ruleName"]
        for plugin in report["pluginReports"]
        for violation in plugin.get("violations", [])
    ]


def test_nothing_is_found(stack: Synthesised) -> None:
    report = stack.folder / "validation-report.json"

    assert not report.exists() or not _findings(stack.folder)


def test_a_public_bucket_is_found(tmp_path: Path) -> None:
    app = build(stage_with("dev", {}), str(tmp_path))
    (base,) = [one for one in app.node.children if one.node.id.endswith("base")]
    assert isinstance(base, Stack)
    s3.Bucket(base, "Public")

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()

    found = _findings(tmp_path)
    assert any("AwsSolutions-S1" in one for one in found), found
    assert any("AwsSolutions-S10" in one for one in found), found


def test_a_wildcard_without_a_reason_is_found(tmp_path: Path) -> None:
    app = build(stage_with("dev", {}), str(tmp_path))
    (base,) = [one for one in app.node.children if one.node.id.endswith("base")]
    assert isinstance(base, Stack)
    made = role(
        base,
        "Wide",
        "Reads one bucket",
        iam.ServicePrincipal("sagemaker.amazonaws.com"),
        [Statement("Read", "its own", ["s3:GetObject"], ["arn:aws:s3:::one/key"])],
    )
    made.add_to_policy(iam.PolicyStatement(actions=["s3:*"], resources=["*"]))

    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()

    assert any("IAM5" in one for one in _findings(tmp_path))


def test_cfn_lint_passes(stack: Synthesised) -> None:
    files = [
        str(stack.folder / f"{stack_name(stack.stage, part)}.template.json") for part in StackName
    ]
    done = subprocess.run(
        [str(VENV / "cfn-lint"), "--regions", stack.stage.region, "--", *files],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_two_syntheses_are_identical(tmp_path: Path, synthesised: dict[str, Synthesised]) -> None:
    before = synthesised["dev-endpoints"]
    own = {"STACK_STAGE": "dev", "STACK_INFRA__ALARM_EMAIL": before.stage.alarm_email}

    # By another process, in which sets and hashes have another order.
    subprocess.run(
        [sys.executable, "-m", "infra"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **own, "CDK_OUTDIR": str(tmp_path), "PYTHONHASHSEED": "4711"},
        check=True,
    )

    for part in StackName:
        name = f"{stack_name(before.stage, part)}.template.json"
        assert (tmp_path / name).read_bytes() == (before.folder / name).read_bytes()
