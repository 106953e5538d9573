"""Start and stop an emulated account, and configure boto3 and the CDK to use it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from contract.paths import PROJECT_ROOT

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Account:
    """A running emulated account."""

    address: str
    """The base URL of its API."""
    region: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make a program use this account and no other."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            # The CDK passes this one to CloudFormation, which requires a real S3 URL.
            "AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION": "https://s3.amazonaws.com",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client(self, service: str) -> Any:
        """Return a boto3 client of a service."""
        return client_at(self.address, self.region, service)


def client_at(address: str, region: str, service: str) -> Any:
    """Return a boto3 client of a service at an endpoint URL."""
    return boto3.client(
        service,
        endpoint_url=address,
        region_name=region,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@contextmanager
def emulated_account(
    folder: Path, region: str = "us-east-1", registry: str = ""
) -> Iterator[Account]:
    """Run an empty account in a separate process.

    Args:
        folder: Where its log is written.
        region: The region of the clients.
        registry: The host and port of the registry that holds the images of its repositories.
    """
    shell = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    log = (folder / "account.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.emulator"],
        cwd=PROJECT_ROOT,
        env={**shell, "MOTO_ACCOUNT_ID": ACCOUNT, "EMULATED_REGISTRY": registry},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the emulated account didn't start"
        yield Account(f"http://127.0.0.1:{port}", region)
    finally:
        process.terminate()
        process.communicate(timeout=20)
        log.close()
