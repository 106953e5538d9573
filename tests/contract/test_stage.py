"""The settings of a stage: what is refused, and by which line."""

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


def test_a_stages_own_keys_win(tmp_path: Path) -> None:
    settings = _settings(
        tmp_path, {"log_retention_days": 30}, dev={}, test={"log_retention_days": 7}
    )

    assert settings.get_stage().name == "dev"
    assert settings.get_stage("dev").log_retention_days == 30
    assert settings.get_stage("test").log_retention_days == 7
    assert settings.get_stage("test").prefix == "prices-test"


@pytest.mark.parametrize(
    ("instance", "processors"),
    [("ml.t2.medium", 2), ("ml.m5.large", 2), ("ml.c5.xlarge", 4), ("ml.m5.12xlarge", 48)],
)
def test_an_instances_processors_are_known_by_its_size(
    tmp_path: Path, instance: str, processors: int
) -> None:
    stage = _settings(tmp_path, {}, dev={"endpoint_instance_type": instance}).get_stage()

    assert stage.endpoint_vcpus == processors


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_STAGE", "test")
    monkeypatch.setenv("STACK_STAGES__TEST__ZONES", "3")

    stage = _settings(tmp_path, {}, dev={}, test={}).get_stage()

    assert (stage.name, stage.zones) == ("test", 3)


@pytest.mark.parametrize(
    ("infra", "own", "message"),
    [
        ({}, {"cidr": "10.0.0.0/24"}, "stages.dev.cidr: /16 to /22 is needed, and /24 is no such"),
        ({"cidr": "8.8.0.0/16"}, {}, "infra.cidr: a private range is needed"),
        ({"cidr": "10.0.0.1/16"}, {}, "infra.cidr: 10.0.0.1/16 has host bits set"),
        ({"account": "1234"}, {}, "infra.account: one would be 123456789012, not '1234'"),
        ({"region": "frankfurt"}, {}, "infra.region: one would be eu-central-1, not 'frankfurt'"),
        ({}, {"zones": 1}, "stages.dev.zones: input should be greater than or equal to 2, not 1"),
        ({}, {"egress": "vpn"}, "stages.dev.egress: input should be 'nat' or 'endpoints'"),
        ({}, {"egress_zones": 3}, "stages.dev.egress_zones: 3 of 2 zones can't be"),
        (
            {},
            {"log_retention_days": 31},
            "stages.dev.log_retention_days: CloudWatch keeps logs for 1, 3, 5",
        ),
        ({}, {"mlflow_cpu": 500}, "stages.dev.mlflow_cpu: Fargate has 256, 512"),
        ({}, {"mlflow_memory_mb": 9999}, "stages.dev.mlflow_memory_mb: Fargate has 1024"),
        ({}, {"mlflow_domain": "a.b"}, "stages.dev.certificate and mlflow_domain: one needs"),
        ({}, {"alrm_email": "a"}, "stages.dev.alrm_email: unknown setting; did you mean alarm_"),
        ({"zons": 2}, {}, "infra.zons: unknown setting; did you mean zones?"),
        ({}, {"endpoint": "a_b"}, "stages.dev.endpoint: one would be prod-endpoint, not 'a_b'"),
        ({}, {"production": True}, "stages.dev.alarm_email: a production stage needs an address"),
        (EMAIL, {"production": True}, "stages.dev.egress_zones: a production stage has two of"),
        (
            EMAIL,
            {
                "production": True,
                "egress_zones": 2,
                "mlflow_tasks": 2,
                "endpoint_instance_count": 2,
                "mlflow_spot": True,
            },
            "stages.dev.mlflow_spot: a production stage's tasks aren't taken away",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, infra: dict[str, Any], own: dict[str, Any], message: str
) -> None:
    settings = _settings(tmp_path, infra, dev=own)

    with pytest.raises(SettingsError) as caught:
        settings.get_stage()

    assert str(caught.value).lower().startswith(f"settings.toml: {message}".lower())
    assert "\n" not in str(caught.value)


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    settings = _settings(tmp_path, {}, dev={}, prod={})

    with pytest.raises(SettingsError, match=r"stages\.prd: no such stage \(there are: dev, prod\)"):
        settings.get_stage("prd")


def test_two_stages_can_not_have_one_endpoint(tmp_path: Path) -> None:
    same = {"endpoint": "one-endpoint"}
    settings = _settings(tmp_path, {}, dev=same, prod=same)

    with pytest.raises(SettingsError, match=r"stages\.dev and stages\.prod have the same endpoint"):
        settings.get_stage()

    elsewhere = {**same, "region": "eu-west-1"}
    assert _settings(tmp_path, {}, dev=same, prod=elsewhere).get_stage().endpoint == "one-endpoint"


def test_a_wrong_setting_ends_the_app_before_the_cdk_begins(tmp_path: Path) -> None:
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
    assert "aws_cdk" not in done.stderr  # nor any other of the modules that it would load


def test_the_projects_own_stages_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_INFRA__ALARM_EMAIL", "team@example.com")
    settings = load_settings(PROJECT_ROOT / "settings.toml")

    dev, prod = settings.get_stage("dev"), settings.get_stage("prod")

    assert (dev.production, prod.production) == (False, True)
    assert (dev.endpoint, prod.endpoint) == ("dev-endpoint", "prod-endpoint")
