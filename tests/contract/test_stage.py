"""The settings of a stage: which are refused, and by which message."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract.errors import SettingsError
from contract.paths import PROJECT_ROOT
from contract.settings.loader import Settings, load_settings
from tests.helpers import environment_for, write_settings

EMAIL = {"alarm_email": "team@example.com"}


def _settings(tmp_path: Path, infra: dict[str, Any], **stages: dict[str, Any]) -> Settings:
    common = {"project": "prices", "region": "eu-central-1", **infra}
    tables = {f"stages__{name}": {"endpoint": name, **own} for name, own in stages.items()}
    return load_settings(write_settings(tmp_path, infra=common, **tables))


def test_keys_of_a_stage_override_those_of_all(tmp_path: Path) -> None:
    settings = _settings(
        tmp_path, {"log_retention_days": 30}, dev={}, test={"log_retention_days": 7}
    )

    assert settings.get_stage().name == "dev"
    assert settings.get_stage("dev").log_retention_days == 30
    assert settings.get_stage("test").log_retention_days == 7
    assert settings.get_stage("test").prefix == "prices-test"


@pytest.mark.parametrize(
    ("instance", "vcpus"),
    [("ml.t2.medium", 2), ("ml.m5.large", 2), ("ml.c5.xlarge", 4), ("ml.m5.12xlarge", 48)],
)
def test_vcpus_are_derived_from_the_instance_type(
    tmp_path: Path, instance: str, vcpus: int
) -> None:
    stage = _settings(tmp_path, {}, dev={"endpoint_instance_type": instance}).get_stage()

    assert stage.endpoint_vcpus == vcpus


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_STAGE", "test")
    monkeypatch.setenv("STACK_STAGES__TEST__ZONES", "3")

    stage = _settings(tmp_path, {}, dev={}, test={}).get_stage()

    assert (stage.name, stage.zones) == ("test", 3)


@pytest.mark.parametrize(
    ("infra", "own", "message"),
    [
        ({}, {"cidr": "10.0.0.0/24"}, "stages.dev.cidr: expected a range from /16 to /22"),
        ({"cidr": "8.8.0.0/16"}, {}, "infra.cidr: expected a private range like"),
        ({"cidr": "10.0.0.1/16"}, {}, "infra.cidr: 10.0.0.1/16 has host bits set"),
        ({"account": "1234"}, {}, "infra.account: expected a value like 123456789012, not '1234'"),
        (
            {"region": "frankfurt"},
            {},
            "infra.region: expected a value like eu-central-1, not 'frankfurt'",
        ),
        ({}, {"zones": 1}, "stages.dev.zones: input should be greater than or equal to 2, not 1"),
        ({}, {"egress": "vpn"}, "stages.dev.egress: input should be 'nat' or 'endpoints'"),
        ({}, {"egress_zones": 3}, "stages.dev.egress_zones: 3 is more than zones, 2"),
        (
            {},
            {"log_retention_days": 31},
            "stages.dev.log_retention_days: expected a retention period of CloudWatch Logs (1, 3",
        ),
        ({}, {"mlflow_cpu": 500}, "stages.dev.mlflow_cpu: Fargate supports 256, 512"),
        ({}, {"mlflow_memory_mb": 9999}, "stages.dev.mlflow_memory_mb: Fargate supports 1024"),
        ({}, {"mlflow_domain": "a.b"}, "stages.dev.certificate_arn: set it together with mlflow_"),
        ({}, {"mlflow_tasks": 3}, "stages.dev.mlflow_max_tasks: 2 is less than mlflow_tasks, 3"),
        ({}, {"alrm_email": "a"}, "stages.dev.alrm_email: unknown setting; did you mean alarm_"),
        ({"zons": 2}, {}, "infra.zons: unknown setting; did you mean zones?"),
        (
            {},
            {"endpoint": "a_b"},
            "stages.dev.endpoint: expected a value like prod-endpoint, not 'a_b'",
        ),
        ({}, {"production": True}, "stages.dev.alarm_email: a production stage needs an address"),
        (
            EMAIL,
            {"production": True},
            "stages.dev.egress_zones: a production stage needs at least 2",
        ),
        (
            EMAIL,
            {
                "production": True,
                "egress_zones": 2,
                "mlflow_tasks": 2,
                "endpoint_instance_count": 2,
                "mlflow_spot": True,
            },
            "stages.dev.mlflow_spot: a production stage can't use Spot capacity",
        ),
    ],
)
def test_invalid_setting_is_reported_in_one_line(
    tmp_path: Path, infra: dict[str, Any], own: dict[str, Any], message: str
) -> None:
    settings = _settings(tmp_path, infra, dev=own)

    with pytest.raises(SettingsError) as caught:
        settings.get_stage()

    assert str(caught.value).lower().startswith(f"settings.toml: {message}".lower())
    assert "\n" not in str(caught.value)


def test_unknown_stage_is_refused(tmp_path: Path) -> None:
    settings = _settings(tmp_path, {}, dev={}, prod={})

    with pytest.raises(SettingsError, match=r"stages\.prd: no such stage \(defined: dev, prod\)"):
        settings.get_stage("prd")


def test_two_stages_with_the_same_endpoint_are_refused(tmp_path: Path) -> None:
    same = {"endpoint": "one-endpoint"}
    settings = _settings(tmp_path, {}, dev=same, prod=same)

    with pytest.raises(SettingsError, match=r"stages\.dev and stages\.prod have the same endpoint"):
        settings.get_stage()

    elsewhere = {**same, "region": "eu-west-1"}
    assert _settings(tmp_path, {}, dev=same, prod=elsewhere).get_stage().endpoint == "one-endpoint"


def test_invalid_setting_is_reported_before_the_cdk_is_loaded(tmp_path: Path) -> None:
    write_settings(tmp_path, infra={"project": "p1", "region": "frankfurt"}, stages__dev={})
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "infra"],
        cwd=PROJECT_ROOT,
        env=environment_for(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: settings.toml: infra.region: ")
    assert "Traceback" not in done.stderr
    assert "aws_cdk" not in done.stderr  # -X importtime lists the loaded modules


def test_settings_toml_defines_valid_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_INFRA__ALARM_EMAIL", "team@example.com")
    settings = load_settings(PROJECT_ROOT / "settings.toml")

    dev, prod = settings.get_stage("dev"), settings.get_stage("prod")

    assert (dev.production, prod.production) == (False, True)
    assert (dev.endpoint, prod.endpoint) == ("dev-endpoint", "prod-endpoint")
