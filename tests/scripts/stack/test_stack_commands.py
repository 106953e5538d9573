"""Deploying a stage and taking it back, where AWS does what an emulated account doesn't.

The rest of it is in tests/infra/test_deploy.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.errors import InfraError
from contract.names import NO_IMAGE, StackName, StackOutput, image_digest_parameter
from contract.settings.stage import Stage
from scripts.aws import cdk
from scripts.aws.account import Account as Reader
from scripts.stack import deploy, destroy
from tests.emulator.account import Account, emulated_account
from tests.infra.conftest import stage_with

DEV = stage_with("dev", {})
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with emulated_account(tmp_path) as account:
        for name, value in account.environment.items():
            monkeypatch.setenv(name, value)
        yield account


def test_a_bucket_that_logs_were_delivered_into_meanwhile_is_emptied_again(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = account.client("s3")
    base = {StackOutput.ARTIFACT_BUCKET: "artifacts", StackOutput.LOG_BUCKET: "logs"}
    for bucket in base.values():
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="one", Body=b"1")
    calls = []

    def delete_stack(_account: Reader, *parts: StackName) -> None:
        calls.append(parts)
        if len(calls) == 1:  # CloudFormation's own refusal of a bucket that isn't empty
            s3.put_object(Bucket="logs", Key="late", Body=b"1")
            raise InfraError("cdk destroy has failed; the reason is above")
        for bucket in base.values():
            s3.delete_bucket(Bucket=bucket)

    monkeypatch.setattr(destroy, "_destroy", delete_stack)

    destroy._take_base_back(Reader(DEV), base)

    assert calls == [(StackName.BASE,), (StackName.BASE,)]
    assert not s3.list_buckets()["Buckets"]


def test_the_image_that_was_pushed_outlives_a_change_of_its_parameter(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssm = account.client("ssm")

    def put(value: str) -> None:
        name = image_digest_parameter(DEV)
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def deploy_stacks(_stage: Stage, parts: list[StackName]) -> None:
        if StackName.BASE in parts:  # CloudFormation writes what the template says
            put(NO_IMAGE)

    put(DIGEST)
    monkeypatch.setattr(cdk, "synthesise", lambda _stage: Path())
    monkeypatch.setattr(cdk, "run", lambda *_: None)
    monkeypatch.setattr(cdk, "deploy", deploy_stacks)
    monkeypatch.setattr(deploy, "monthly_cost", lambda *_: 1.0)
    monkeypatch.setattr(deploy, "_tell", lambda *_: None)

    deploy.command(yes=True, images=False)

    assert ssm.get_parameter(Name=image_digest_parameter(DEV))["Parameter"]["Value"] == DIGEST
