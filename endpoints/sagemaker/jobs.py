"""The training jobs of a stage: find, create, describe and stop them."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from aws.account import AwsAccount
from aws.retries import call_with_retries
from contract.names import training_job_prefix
from contract.training_job import JobVariable

logger = logging.getLogger(__name__)

T = TypeVar("T")
RUNNING = frozenset({"InProgress", "Stopping"})
INPUT_ERRORS = re.compile(
    r"(AlgorithmError: )?(SettingsError|DataError|FamilyError|ReleaseError): "
)
"""How the failure starts with which the container fails again unless the input changes."""


@dataclass(frozen=True)
class JobState:
    """A training job, as SageMaker describes it."""

    name: str
    status: str
    """InProgress, Completed, Failed, Stopping or Stopped."""
    step: str
    """SageMaker's secondary status, such as Downloading or Interrupted."""
    steps: tuple[str, ...]
    """All secondary statuses so far, the latest last; a short one may be missed between calls."""
    failure: str
    """Why it failed, or ""."""
    created_at: datetime
    ended_at: datetime | None
    instance_type: str
    instances: int
    spot: bool
    training_seconds: int
    billable_seconds: int
    """Of one instance; 0 until the job has ended."""
    model_uri: str
    """Where model.tar.gz is, beside output.tar.gz."""
    resume_id: str
    """The name of the first of the jobs that resume one another."""
    forced: bool

    @property
    def is_running(self) -> bool:
        """Whether the job has not ended yet."""
        return self.status in RUNNING

    @property
    def output_uri(self) -> str:
        """Where the container's /opt/ml/output/data is."""
        return self.model_uri.removesuffix("model.tar.gz") + "output.tar.gz"

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same job may succeed: it failed, and not because of its input.

        A job that a user or a time limit has stopped isn't repeated.
        """
        return self.status == "Failed" and not self.is_input_error

    @property
    def is_input_error(self) -> bool:
        """Whether the job fails again unless its tables or settings change."""
        return bool(INPUT_ERRORS.match(self.failure))

    @property
    def billable_hours(self) -> float:
        """The hours that are billed, of all instances together."""
        return self.billable_seconds * self.instances / 3600

    @property
    def reason(self) -> str:
        """Why the job did not complete, in one line."""
        reasons = {
            "MaxRuntimeExceeded": "it reached its time limit, training.max_hours",
            "MaxWaitTimeExceeded": "it reached its time limit, training.max_wait_hours",
        }
        text = self.failure or reasons.get(self.step, "it was stopped")
        return " ".join(text.split())

    @classmethod
    def from_api(cls, job: Mapping[str, Any]) -> "JobState":
        """Return the state in the response of DescribeTrainingJob."""
        resources = job["ResourceConfig"]
        return cls(
            name=job["TrainingJobName"],
            status=job["TrainingJobStatus"],
            step=job["SecondaryStatus"],
            steps=tuple(step["Status"] for step in job.get("SecondaryStatusTransitions", ())),
            failure=job.get("FailureReason", ""),
            created_at=job["CreationTime"],
            # A job that never got an instance has no TrainingEndTime.
            ended_at=None
            if job["TrainingJobStatus"] in RUNNING
            else job.get("TrainingEndTime", job["LastModifiedTime"]),
            instance_type=resources["InstanceType"],
            instances=resources["InstanceCount"],
            spot=job.get("EnableManagedSpotTraining", False),
            training_seconds=job.get("TrainingTimeInSeconds", 0),
            billable_seconds=job.get("BillableTimeInSeconds", 0),
            model_uri=job.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
            resume_id=job.get("Environment", {}).get(JobVariable.RESUME_ID, job["TrainingJobName"]),
            forced=job.get("HyperParameters", {}).get("force") == "true",
        )


class TrainingJobs:
    """The jobs of a stage."""

    def __init__(self, account: AwsAccount) -> None:
        """Nothing is read yet.

        Args:
            account: The account and stage.
        """
        self._account = account

    def find_latest(self, prefix: str) -> JobState | None:
        """Return the job of a training with the highest number.

        Args:
            prefix: What the names of its jobs start with; a number follows.
        """
        numbered = [
            name for name in self._list_names(prefix) if name.removeprefix(prefix).isdecimal()
        ]
        latest = max(numbered, key=lambda name: int(name.removeprefix(prefix)), default=None)
        return self.describe(latest) if latest else None

    def find_recent(self, count: int) -> list[JobState]:
        """Return the stage's latest jobs, the newest first."""
        names = self._list_names(training_job_prefix(self._account.stage), limit=count)
        return [self.describe(name) for name in names]

    def describe(self, name: str) -> JobState:
        """Return a job's state; survives throttling, lost networks and expired credentials."""
        response = self._call(
            name,
            lambda: self._account.client("sagemaker").describe_training_job(TrainingJobName=name),
        )
        return JobState.from_api(response)

    def create(self, arguments: Mapping[str, Any]) -> JobState:
        """Create a job; one of the same name that exists already is returned.

        Args:
            arguments: Those of sagemaker.core's `TrainingJob.create`.

        Raises:
            InfraError: SageMaker refuses the request, such as for a quota.
        """
        name = arguments["training_job_name"]
        try:
            self._call(name, lambda: _create(arguments, self._account))
        except _JobExistsError:
            logger.info("Job %s exists already: another command has started it", name)
        return self.describe(name)

    def stop(self, name: str) -> None:
        """Stop a job: its container has two minutes to end.

        One that has ended, or was never created, is left as it is.
        """

        def stop() -> None:
            try:
                self._account.client("sagemaker").stop_training_job(TrainingJobName=name)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                # "The request was rejected because the training job is in status Stopped."
                if code not in {"ValidationException", "ResourceNotFound"}:
                    raise

        self._call(name, stop)

    def _list_names(self, prefix: str, limit: int | None = None) -> list[str]:
        """Return the names that start with a prefix, the newest first."""

        def list_names() -> list[str]:
            pages = self._account.client("sagemaker").get_paginator("list_training_jobs")
            # NameContains finds it anywhere in a name.
            names = (
                job["TrainingJobName"]
                for page in pages.paginate(
                    NameContains=prefix, SortBy="CreationTime", SortOrder="Descending"
                )
                for job in page["TrainingJobSummaries"]
                if job["TrainingJobName"].startswith(prefix)
            )
            return list(islice(names, limit))

        return self._call(prefix, list_names)

    def _call(self, job: str, call: Callable[[], T]) -> T:
        return call_with_retries(self._account, f"training job {job}", call)


class _JobExistsError(Exception):
    """A job of this name exists."""


def _create(arguments: Mapping[str, Any], account: AwsAccount) -> None:
    # It logs each file of defaults that it doesn't find.
    logging.getLogger("sagemaker.config").setLevel(logging.WARNING)
    from sagemaker.core.resources import TrainingJob  # noqa: PLC0415 - takes seconds to load

    try:
        TrainingJob.create(**arguments, session=account.session, region=account.stage.region)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceInUse":
            raise _JobExistsError from None
        raise
