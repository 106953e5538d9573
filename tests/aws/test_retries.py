"""Calls that are repeated: what counts as transient, and credentials that expire."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aws import retries
from aws.account import AwsAccount
from aws.retries import CredentialsExpiredError, call_with_retries
from contract.errors import InfraError
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import stage_with

DEV = stage_with("dev", {})
ROLE = "arn:aws:iam::123456789012:role/anyone"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as account:
        yield account


@pytest.fixture
def account(emulated: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in emulated.environment.items():
        monkeypatch.setenv(name, value)
    yield AwsAccount(DEV)
    emulated.inject_faults()


def _fault(code: str, status: int, **options: Any) -> dict[str, Any]:
    return {"action": "*", "code": code, "status": status, "message": "not now", **options}


def _list_jobs(account: AwsAccount) -> Callable[[], Any]:
    return lambda: account.client("sagemaker").list_training_jobs()


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("ServiceUnavailableException", 503), ("Unknown", 500)],
)
def test_failure_of_aws_is_retried(
    emulated: Account,
    account: AwsAccount,
    code: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    calls = 0

    def call() -> Any:
        nonlocal calls
        calls += 1
        emulated.inject_faults(*([_fault(code, status)] if calls < 3 else []))
        return account.client("sagemaker").list_training_jobs()

    assert call_with_retries(account, "jobs", call)["TrainingJobSummaries"] == []
    assert calls == 3
    assert f"jobs: {code}; trying again" in caplog.text


def test_refused_call_is_not_repeated(emulated: Account, account: AwsAccount) -> None:
    emulated.inject_faults(_fault("ValidationException", 400))

    with pytest.raises(InfraError, match=r"^ListTrainingJobs of jobs: not now$"):
        call_with_retries(account, "jobs", _list_jobs(account))


def test_role_of_a_profile_that_can_no_longer_be_assumed_is_reported(
    emulated: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, account: AwsAccount
) -> None:
    """A profile with a role is the usual way to act with the deploying role."""
    _use_profile(emulated, monkeypatch, tmp_path)
    account = AwsAccount(DEV, "deploying")
    emulated.inject_faults(_fault("ExpiredToken", 400))

    with pytest.raises(CredentialsExpiredError, match="the credential chain has no new ones"):
        call_with_retries(account, "jobs", _list_jobs(account))


def test_new_credentials_that_are_refused_as_well_end_the_call(
    emulated: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, account: AwsAccount
) -> None:
    """Each time the role is assumed, there are new credentials."""
    monkeypatch.setattr(retries, "RETRY_SECONDS", 0.5)
    _use_profile(emulated, monkeypatch, tmp_path)
    account = AwsAccount(DEV, "deploying")
    emulated.inject_faults({**_fault("ExpiredTokenException", 400), "action": "ListTrainingJobs"})

    with pytest.raises(InfraError, match="ListTrainingJobs of jobs: not now"):
        call_with_retries(account, "jobs", _list_jobs(account))


def _use_profile(emulated: Account, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    config = folder / "config"
    config.write_text(
        f"[profile user]\n{keys}"
        f"[profile deploying]\nrole_arn = {ROLE}\nsource_profile = user\nregion = us-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulated.address)
