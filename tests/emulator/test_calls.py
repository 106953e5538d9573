"""Injected faults, as a client receives them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.emulator.account import FAULTS_FILE, Account, emulated_account
from tests.emulator.calls import Calls

DENIED = {"action": "*", "code": "AccessDenied", "status": 403, "message": "No."}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with emulated_account(tmp_path_factory.mktemp("account")) as running:
        running.inject_faults(DENIED)
        yield running


@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False)])
def test_response_to_head_has_no_body(tmp_path: Path, method: str, has_body: bool) -> None:
    (tmp_path / FAULTS_FILE).write_text(json.dumps([DENIED]))
    calls = Calls(lambda *_: pytest.fail("the request reached the account"), tmp_path)
    request = {
        "REQUEST_METHOD": method,
        "PATH_INFO": "/bucket/key",
        "HTTP_AUTHORIZATION": "Credential=testing/20260101/us-east-1/s3/aws4_request",
    }
    statuses: list[str] = []

    body = b"".join(calls(request, lambda status, _: statuses.append(status)))

    assert statuses == ["403 Error"]
    assert bool(body) == has_body


def test_client_takes_the_status_of_a_response_without_a_body_for_the_code(
    account: Account,
) -> None:
    with pytest.raises(ClientError) as denied:
        account.client("s3").head_object(Bucket="bucket", Key="key")

    assert denied.value.response["Error"]["Code"] == "403"


def test_client_reads_the_code_in_a_body(account: Account) -> None:
    with pytest.raises(ClientError) as denied:
        account.client("s3").get_object(Bucket="bucket", Key="key")

    assert denied.value.response["Error"]["Code"] == "AccessDenied"
