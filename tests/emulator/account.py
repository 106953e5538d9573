"""Start and stop an emulated account, and configure boto3 and the CDK to use it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from contract.paths import PROJECT_ROOT

ACCOUNT = "123456789012"
CALLS_FILE, FAULTS_FILE, JOBS_FILE = "calls.jsonl", "faults.json", "jobs.json"
"""Files in the account's folder: the record of calls, and what tests inject."""


@dataclass(frozen=True)
class Account:
    """A running emulated account."""

    address: str
    """The base URL of its API."""
    region: str
    folder: Path
    """Its log, the record of calls, and the folders of training jobs' hosts."""

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

    def credentials(self, role_arn: str) -> dict[str, str]:
        """Return the environment variables of a session with a role."""
        response = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")
        keys = response["Credentials"]
        return {
            **self.environment,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }

    def calls(self) -> list[dict[str, str]]:
        """Return all calls so far: who called which action of which service."""
        return [json.loads(line) for line in (self.folder / CALLS_FILE).read_text().splitlines()]

    def inject_faults(self, *faults: Mapping[str, Any]) -> None:
        """Make calls fail, as described in tests/emulator/calls.py; no fault ends that."""
        _write_json(self.folder / FAULTS_FILE, faults)

    def control_jobs(self, **settings: Any) -> None:
        """Change the behavior of jobs, as described in tests/emulator/training_jobs.py."""
        file = self.folder / JOBS_FILE
        current = json.loads(file.read_text()) if file.exists() else {}
        _write_json(file, {**current, **settings})


def client_at(
    address: str, region: str, service: str, credentials: Mapping[str, str] | None = None
) -> Any:
    """Return a boto3 client of a service at an endpoint URL.

    Args:
        address: The URL.
        region: The region.
        service: The service.
        credentials: Those of an assumed role; by default the account's own.
    """
    keys = credentials or {"AccessKeyId": "testing", "SecretAccessKey": "testing"}
    return boto3.client(
        service,
        endpoint_url=address,
        region_name=region,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
    )


def _write_json(file: Path, content: object) -> None:
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(content))
    scratch.replace(file)  # the account reads it at any time


@contextmanager
def emulated_account(
    folder: Path, region: str = "us-east-1", registry: str = "", engine: str = ""
) -> Iterator[Account]:
    """Run an empty account in a separate process.

    Args:
        folder: Where its log is written.
        region: The region of the clients.
        registry: The host and port of the registry that holds the images of its repositories.
        engine: The container engine that runs training jobs; by default they are processes.
    """
    shell = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    log = (folder / "account.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.emulator"],
        cwd=PROJECT_ROOT,
        env={
            **shell,
            "MOTO_ACCOUNT_ID": ACCOUNT,
            "EMULATED_FOLDER": str(folder),
            "EMULATED_REGISTRY": registry,
            "EMULATED_ENGINE": engine,
        },
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the emulated account didn't start"
        yield Account(f"http://127.0.0.1:{port}", region, folder)
    finally:
        process.terminate()
        process.communicate(timeout=20)
        log.close()
