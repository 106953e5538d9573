"""SageMaker training jobs that really run, as containers or, without an engine, as processes.

Operations: CreateTrainingJob, DescribeTrainingJob, StopTrainingJob and ListTrainingJobs; tags by
moto. A job acts under its execution role: the emulator assumes it, reads and writes S3 with it, and
passes its credentials to the container.

A test controls the jobs by a file JOBS_FILE in the account's folder:

- `"capacity": false`: there are no instances of any type;
- `"interrupt_after": [3]`: the instances of the next job are interrupted as soon as three
  combinations are tracked; a longer list interrupts it again;
- `"hosts": {"mlflow.internal:80": "127.0.0.1:5000"}`: hosts of the private network.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import (
    AWSValidationException,
    ResourceInUseException,
    ValidationError,
)
from moto.sagemaker.responses import SageMakerResponse

from tests.emulator.account import ACCOUNT, JOBS_FILE, client_at
from tests.emulator.training_host import STOP_SECONDS, Host
from tests.emulator.training_output import MODEL_ARCHIVE, LogStream, output_uri, upload_archives
from tests.emulator.training_rules import check_training_request

POLL_SECONDS = 0.1
SPOT_SHARE = 0.3
"""The share of a spot job's time that is billed here; on AWS it depends on the spot price."""
ENDED = ("Completed", "Failed", "Stopped")


def add_training_jobs(address: str, folder: Path) -> None:
    """Replace moto's operations, whose jobs are completed at once and run nothing.

    Args:
        address: The account's endpoint URL.
        folder: Where the hosts have their folders, and where the control file is.
    """
    TrainingJob.address, TrainingJob.folder = address, folder
    for operation in (_create, _describe, _stop, _list):
        setattr(SageMakerResponse, f"{operation.__name__.lstrip('_')}_training_job", operation)
    SageMakerResponse.list_training_jobs = _list  # type: ignore[method-assign,assignment]


class TrainingJob:
    """A job; its request is validated already."""

    address: str
    folder: Path

    def __init__(self, request: Mapping[str, Any], region: str) -> None:
        self.name = request["TrainingJobName"]
        self.arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:training-job/{self.name}"
        self.tags = request.get("Tags", [])
        self._request, self._region = request, region
        self._status, self._secondary = "InProgress", "Starting"
        self._created_at = self._modified_at = datetime.now(UTC)
        self._started_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._transitions = [{"Status": "Starting", "StartTime": self._created_at}]
        self._failure, self._metrics = "", dict[str, float]()
        self._stopping, self._tracked = Event(), 0
        self._secondary_at_end = ""
        # MaxWaitTimeInSeconds: "the amount of time spent waiting for Spot capacity plus the amount
        # of time the job can run" (API_StoppingCondition.html)
        longest = request["StoppingCondition"].get("MaxWaitTimeInSeconds", float("inf"))
        self._deadline = time.monotonic() + longest
        self._lock = Lock()
        Thread(target=self._run_safely, daemon=True).start()

    @property
    def created_at(self) -> datetime:
        return self._created_at

    @property
    def status(self) -> str:
        return self._status

    def describe(self) -> dict[str, Any]:
        """Return the response of DescribeTrainingJob."""
        request = {name: value for name, value in self._request.items() if name != "Tags"}
        described = {
            **request,
            "TrainingJobArn": self.arn,
            "TrainingJobStatus": self._status,
            "SecondaryStatus": self._secondary,
            "SecondaryStatusTransitions": self._transitions,
            "CreationTime": self._created_at,
            "LastModifiedTime": self._modified_at,
            "ModelArtifacts": {"S3ModelArtifacts": output_uri(self._request, MODEL_ARCHIVE)},
            "FinalMetricDataList": [
                {"MetricName": name, "Value": value, "Timestamp": self._modified_at}
                for name, value in self._metrics.items()
            ],
        }
        if self._failure:
            described["FailureReason"] = self._failure
        if self._started_at:
            described["TrainingStartTime"] = self._started_at
        if self._started_at and self._ended_at:
            seconds = max(1, round((self._ended_at - self._started_at).total_seconds()))
            spot = self._request.get("EnableManagedSpotTraining", False)
            described["TrainingEndTime"] = self._ended_at
            described["TrainingTimeInSeconds"] = seconds
            # "Multiply BillableTimeInSeconds by the number of instances" (the operation's page)
            described["BillableTimeInSeconds"] = max(
                1, round(seconds * (SPOT_SHARE if spot else 1))
            )
        return described

    def summarize(self) -> dict[str, Any]:
        """Return the job's entry in the response of ListTrainingJobs."""
        names = ("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "CreationTime")
        described = self.describe()
        return {name: described[name] for name in (*names, "LastModifiedTime")}

    def stop(self) -> None:
        """Begin to stop the job."""
        with self._lock:
            if self._status != "InProgress":
                # "The request was rejected because the training job is in status Stopped."
                reason = f"the training job is in status {self._status}"
                raise AWSValidationException(f"The request was rejected because {reason}.")
            self._set_status("Stopping", "Stopping")
        self._stopping.set()

    # The lifecycle, in a thread.

    def _run_safely(self) -> None:
        try:
            self._run()
        except Exception as error:  # what fails here would fail inside SageMaker
            self._end("Failed", f"ClientError: {error}")

    def _run(self) -> None:
        attempt, interruptions = 0, list(self._control().get("interrupt_after", []))
        if interruptions:
            self._write_control({**self._control(), "interrupt_after": []})
        while True:
            attempt += 1
            if not self._wait_for_capacity():
                return
            limit = interruptions.pop(0) if interruptions else None
            if self._train(attempt, limit) != "Interrupted":
                return
            if not self._request.get("EnableManagedSpotTraining"):
                reason = "We encountered an internal error. Please try again."
                self._end("Failed", f"InternalServerError: {reason}")
                return
            # "Interrupted - The job stopped because the managed spot training instances were
            # interrupted." (SecondaryStatus)
            self._set_status("InProgress", "Interrupted")
            self._set_status("InProgress", "Starting")

    def _wait_for_capacity(self) -> bool:
        while not self._control().get("capacity", True):
            if not self._request.get("EnableManagedSpotTraining"):
                reason = "Unable to provision requested ML compute capacity"
                self._end(
                    "Failed",
                    f"CapacityError: {reason}. Please retry using a different ML instance type.",
                )
                return False
            if time.monotonic() > self._deadline:
                self._stop_at_limit("MaxWaitTimeExceeded")
            if self._stopping.wait(POLL_SECONDS):
                self._end("Stopped")
                return False
        return True

    def _stop_at_limit(self, secondary: str) -> None:
        """Begin to stop the job as StopTrainingJob does; it ends with another secondary status."""
        with self._lock:
            if self._status == "InProgress":
                self._secondary_at_end = secondary
                self._set_status("Stopping", "Stopping")
        self._stopping.set()

    def _train(self, attempt: int, interrupt_after: int | None) -> str:
        """Run the hosts once; return Interrupted, or the status that the job has ended with."""
        credentials = self._assume_role()
        s3, engine = self._client("s3", credentials), os.environ.get("EMULATED_ENGINE", "")
        count = self._request["ResourceConfig"]["InstanceCount"]
        names = tuple(f"algo-{number}" for number in range(1, count + 1))
        place = self.folder / "jobs" / self.name / str(attempt)
        hosts = [Host(name, place / name, self._request, names) for name in names]
        self._set_status("InProgress", "Downloading")
        self._started_at = self._started_at or datetime.now(UTC)
        for host in hosts:
            host.lay_out()
            host.download(s3)
        if self._stopping.is_set():
            self._end("Stopped")
            return "Stopped"
        self._set_status("InProgress", "Training")
        self._tracked = 0
        logs = self._client("logs", credentials)
        for host in hosts:
            stream = LogStream(logs, self.name, host.name)
            on_line = partial(self._handle_line, stream)
            host.start(self._environment(credentials), engine, on_line)
        interrupted = self._wait(hosts, interrupt_after)
        codes = [host.wait() for host in hosts]
        if interrupted:
            return "Interrupted"
        failed = next((host for host, code in zip(hosts, codes, strict=True) if code), None)
        if not self._stopping.is_set() and failed:
            text, code = failed.failure() or "the container exited", codes[hosts.index(failed)]
            self._end("Failed", f"AlgorithmError: {text}, exit code: {code}"[:1024])
            return "Failed"
        self._set_status(self._status, "Uploading")
        upload_archives(s3, self._request, hosts)
        self._end("Stopped" if self._stopping.is_set() else "Completed")
        return self._status

    def _wait(self, hosts: list[Host], interrupt_after: int | None) -> bool:
        """Wait for the hosts; return whether their instances were interrupted."""
        limit = self._request["StoppingCondition"].get("MaxRuntimeInSeconds", 86_400)
        runtime_deadline = time.monotonic() + limit
        while any(host.is_running() for host in hosts):
            if time.monotonic() > self._deadline:
                self._stop_at_limit("MaxWaitTimeExceeded")
            elif time.monotonic() > runtime_deadline:
                self._stop_at_limit("MaxRuntimeExceeded")
            interrupted = interrupt_after is not None and self._tracked >= interrupt_after
            stopped = [host for host in hosts if not host.is_running()]
            # A host that fails, fails the job: the others are stopped.
            failed = any(host.wait() for host in stopped)
            if interrupted or failed or self._stopping.is_set():
                _stop_hosts(hosts)
                return interrupted and not self._stopping.is_set()
            time.sleep(POLL_SECONDS)
        return False

    def _handle_line(self, stream: LogStream, line: str) -> None:
        with self._lock:
            self._tracked += '"event": "tracked"' in line
            for definition in self._request["AlgorithmSpecification"].get("MetricDefinitions", []):
                # "A regular expression that searches the output of a training job and gets the
                # value of the metric." (API_MetricDefinition.html)
                if found := re.search(definition["Regex"], line):
                    self._metrics[definition["Name"]] = float(found[1])
        stream.write(line)

    def _assume_role(self) -> dict[str, str]:
        sts = client_at(self.address, self._region, "sts")
        response = sts.assume_role(RoleArn=self._request["RoleArn"], RoleSessionName="SageMaker")
        return dict(response["Credentials"])

    def _client(self, service: str, credentials: Mapping[str, str]) -> Any:
        return client_at(self.address, self._region, service, credentials)

    def _environment(self, credentials: Mapping[str, str]) -> dict[str, str]:
        requested = dict(self._request.get("Environment", {}))
        for host, local in self._control().get("hosts", {}).items():
            requested = {name: value.replace(host, local) for name, value in requested.items()}
        return {
            **requested,
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
            "AWS_REGION": self._region,
            "AWS_ENDPOINT_URL": self.address,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }

    def _control(self) -> dict[str, Any]:
        file = self.folder / JOBS_FILE
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def _write_control(self, content: Mapping[str, Any]) -> None:
        (self.folder / JOBS_FILE).write_text(json.dumps(content))

    def _set_status(self, status: str, secondary: str = "") -> None:
        """Set the status; the secondary one of an ended job is the same by default."""
        now, secondary = datetime.now(UTC), secondary or status
        self._transitions[-1]["EndTime"] = now
        self._transitions.append({"Status": secondary, "StartTime": now})
        self._status, self._secondary, self._modified_at = status, secondary, now

    def _end(self, status: str, failure: str = "") -> None:
        self._failure, self._ended_at = failure, datetime.now(UTC)
        self._set_status(status, self._secondary_at_end if status == "Stopped" else "")


def _stop_hosts(hosts: list[Host]) -> None:
    for host in hosts:
        if host.is_running():
            host.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while any(host.is_running() for host in hosts) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for host in hosts:
        if host.is_running():
            host.kill()


def _create(response: Any) -> ActionResult:
    """Create a job; "the name must be unique within an AWS Region in an AWS account"."""
    request = json.loads(response.body)
    jobs = response.sagemaker_backend.training_jobs
    check_training_request(
        request, lambda service: client_at(TrainingJob.address, response.region, service)
    )
    if request["TrainingJobName"] in jobs:
        raise ResourceInUseException(
            "Training job names must be unique within an AWS account and region, and a training "
            f"job with this name already exists ({request['TrainingJobName']})"
        )
    job = TrainingJob(request, response.region)
    jobs[job.name] = job
    return ActionResult({"TrainingJobArn": job.arn})


def _find(response: Any) -> TrainingJob:
    name = response._get_param("TrainingJobName")
    job: TrainingJob | None = response.sagemaker_backend.training_jobs.get(name)
    if job is None:
        raise ValidationError(message="Requested resource not found.")
    return job


def _describe(response: Any) -> ActionResult:
    return ActionResult(_find(response).describe())


def _stop(response: Any) -> ActionResult:
    _find(response).stop()
    return ActionResult({})


def _list(response: Any) -> ActionResult:
    contains, status = response._get_param("NameContains"), response._get_param("StatusEquals")
    jobs = [
        job.summarize()
        for job in sorted(
            response.sagemaker_backend.training_jobs.values(),
            key=lambda job: job.created_at,
            reverse=response._get_param("SortOrder", "Descending") == "Descending",
        )
        if (not contains or contains in job.name) and status in {None, job.status}
    ]
    first = int(response._get_param("NextToken") or 0)
    size = response._get_param("MaxResults") or 10
    page: dict[str, Any] = {"TrainingJobSummaries": jobs[first : first + size]}
    if first + size < len(jobs):
        page["NextToken"] = str(first + size)
    return ActionResult(page)
