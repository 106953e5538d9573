"""A stage in an emulated account, with a tracking server and an image, on which jobs train."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws.image_content import image_content_tag
from contract.names import BucketPrefix, Image, StackOutput, image_platform, repository_name
from contract.paths import PROJECT_ROOT
from contract.settings.loader import load_settings
from contract.settings.stage import Stage
from endpoints.sagemaker.target import SageMakerTarget
from tests.durability.server import Server
from tests.emulator.account import Account
from tests.helpers import environment_without_make, write_settings, write_tables

GRID = {"grids__ridge": {"alpha": [1, 10, 100], "fit_intercept": [True, False]}}
TOTAL = 6
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {"digest": f"sha256:{'a' * 64}", "size": 1},
    "layers": [],
}
"""An image that nothing runs: the jobs are processes of this checkout."""


@dataclass(frozen=True)
class EmulatedStage:
    """A deployed stage."""

    account: Account
    stage: Stage
    outputs: Mapping[StackOutput, str]
    server: Server

    @property
    def bucket(self) -> str:
        return self.outputs[StackOutput.ARTIFACT_BUCKET]

    def credentials(self) -> dict[str, str]:
        """Return the environment variables of a session with the deploying role."""
        return self.account.credentials(self.outputs[StackOutput.DEPLOYING_ROLE])

    def target(self, folder: Path, **settings: Any) -> SageMakerTarget:
        """Return the target of a training that no other test starts.

        Args:
            folder: For the settings and the tables; its name is that of the experiment.
            **settings: Sections of the settings that differ from those of all tests.
        """
        write_tables(folder)
        training = {"experiment": folder.name, **settings.pop("training", {})}
        file = write_settings(folder, **{**GRID, **settings, "training": training})
        return SageMakerTarget(load_settings(file), self.stage)

    def jobs(self, experiment: str = "") -> list[dict[str, Any]]:
        """Return the jobs, the oldest first, of all trainings or of one experiment."""
        client = self.account.client("sagemaker")
        found = client.list_training_jobs(SortOrder="Ascending", MaxResults=100)
        jobs = [
            client.describe_training_job(TrainingJobName=summary["TrainingJobName"])
            for summary in found["TrainingJobSummaries"]
        ]
        return [job for job in jobs if experiment in {"", self.experiment_of(job)}]

    def experiment_of(self, job: Mapping[str, Any]) -> str:
        """Return the experiment in a job's settings."""
        key = f"{BucketPrefix.JOBS}{job['TrainingJobName']}/config/settings.json"
        body = self.account.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return str(json.loads(body)["training"]["experiment"])

    def pid(self, job: str, host: str = "algo-1") -> int:
        """Return the process of a job's host in its first attempt."""
        return int((self.account.folder / "jobs" / job / "1" / host / "pid").read_text())


def put_image(account: Account, stage: Stage, image: Image) -> str:
    """Push an image of this checkout's content to ECR; return its digest."""
    response = account.client("ecr").put_image(
        repositoryName=repository_name(stage, image),
        imageManifest=json.dumps({**MANIFEST, "annotations": {"image": image}}),
        imageTag=image_content_tag(image, image_platform(stage, image)),
    )
    return str(response["image"]["imageId"]["imageDigest"])


@contextmanager
def make_process(
    target: str, *arguments: str, environment: Mapping[str, str], **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Run a target of the Makefile in the background."""
    process = subprocess.Popen(
        ["make", target, *arguments],
        cwd=PROJECT_ROOT,
        env={**environment_without_make(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()
