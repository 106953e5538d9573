"""Start and end an emulated account, and speak to it as boto3 and the CDK do."""

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
    """An account that answers at an address."""

    address: str
    region: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program speak to it, and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            # The CDK hands this one on to CloudFormation, which wants S3's own name.
            "AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION": "https://s3.amazonaws.com",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return client_at(self.address, self.region, service)


def client_at(address: str, region: str, service: str) -> Any:
    """Return boto3's client of a service at an address."""
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
    """An account with nothing in it, in a process of its own; its log is in the folder.

    `registry` is where the images of its repositories are: a host and a port.
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
