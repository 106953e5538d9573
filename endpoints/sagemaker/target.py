"""A stage on AWS as a target: training jobs on SageMaker.

One job in the private network owns a training: grids, tracking and release. This side starts it,
follows its log and reads its result; it never reaches the tracking server.
"""

import io
import json
import logging
import tarfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from botocore.exceptions import ClientError

from aws.account import AwsAccount
from aws.images import find_image, find_image_digest, protect_image
from aws.prices import load_prices
from aws.retries import call_patiently
from contract.errors import EndpointError, StackError, TrainingJobError
from contract.git import get_commit
from contract.names import Image, StackName, StackOutput
from contract.release import Release
from contract.settings.loader import Settings
from contract.settings.stage import Stage
from contract.training_job import RESULT_FILE
from endpoints.sagemaker.capacity import check_capacity
from endpoints.sagemaker.job_log import JobLog
from endpoints.sagemaker.jobs import JobState, TrainingJobs
from endpoints.sagemaker.request import JobRequest
from endpoints.sagemaker.tables import find_tables, split_uri, upload_table
from endpoints.target import (
    JSON,
    DeploymentResult,
    InvocationResponse,
    Status,
    Target,
    TrainingJob,
)
from training.progress_lines import ProgressReader
from training.result import TrainingResult

if TYPE_CHECKING:
    from training.result import Progress

logger = logging.getLogger(__name__)

POLL_SECONDS = 3.0
RECENT_JOBS = 5
STEPS = {
    "Starting": "waiting for instances",
    "Pending": "waiting for instances",
    "LaunchingMLInstances": "waiting for instances",
    "PreparingTrainingStack": "preparing the instances",
    "Downloading": "downloading the tables and the image",
    "DownloadingTrainingImage": "downloading the image",
    "Training": "training",
    "Uploading": "uploading the release and the result",
    "Interrupted": "the spot instances were interrupted; SageMaker starts the job again",
    "Restarting": "SageMaker starts the job again",
    "Stopping": "stopping",
}
"""What SageMaker is doing, by its secondary status."""


class SageMakerTarget(Target):
    """A stage on AWS."""

    def __init__(self, settings: Settings, stage: Stage) -> None:
        """Nothing is read yet.

        Args:
            settings: The training's settings.
            stage: The stage.
        """
        self.settings = settings
        self.stage = stage
        self._connected: AwsAccount | None = None
        self._running_job = ""

    @property
    def running_job(self) -> str:
        """The job that `train` follows, until it has ended."""
        return self._running_job

    @property
    def _account(self) -> AwsAccount:
        if not self._connected:
            self._connected = AwsAccount(self.stage)
            command = f"make train TARGET=aws STAGE={self.stage.name}"
            self._connected.how_to_continue = (
                f"a job that runs continues: renew the credentials, and run {command} again"
            )
        return self._connected

    def train(self, progress: "Progress", force: bool = False) -> TrainingResult:
        """Run a training job to its end, and return its result; see `Target`."""
        request = self._prepare()
        state = self._find_or_start(request, force)
        if not self._running_job:
            return self._read_result(state)
        state = self._follow(state, progress)
        if state.may_be_repeated:
            logger.info("Job %s failed: %s; starting it again", state.name, state.reason)
            state = self._start(request, state, state.forced, state.training_seconds)
            state = self._follow(state, progress)
        self._running_job = ""
        if state.status != "Completed":
            raise TrainingJobError(self._explain(state))
        self._report_cost(state, request.hourly_usd)
        return self._read_result(state)

    def start_training(self, force: bool = False) -> TrainingJob:
        """Start a training job, or find the one that runs; see `Target`."""
        state = self._find_or_start(self._prepare(), force)
        self._running_job = ""
        return self._summarize(state)

    def stop_training(self) -> None:
        """Stop the job that `train` was following; see `Target`."""
        TrainingJobs(self._account).stop(self._running_job)

    def list_training_jobs(self) -> Sequence[TrainingJob]:
        """Return the stage's latest training jobs; see `Target`."""
        states = TrainingJobs(self._account).find_recent(RECENT_JOBS)
        return [self._summarize(state) for state in states]

    def release(self, model: str | None = None) -> Release:
        """Not supported: a training job releases its winner itself."""
        raise StackError(
            "TARGET=aws: make train releases the winner of each training itself; "
            "nothing was changed"
        )

    def deploy(self, version: str | None = None, model: str | None = None) -> DeploymentResult:
        """Not supported on AWS yet."""
        self._refuse()

    def rollback(self) -> DeploymentResult:
        """Not supported on AWS yet."""
        self._refuse()

    def status(self) -> Status:
        """Not supported on AWS yet; `list_training_jobs` is."""
        self._refuse()

    def invoke(
        self, body: bytes, content_type: str = JSON, accept: str = JSON
    ) -> InvocationResponse:
        """Not supported on AWS yet."""
        self._refuse()

    def teardown(self) -> tuple[str, ...]:
        """Not supported on AWS yet."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EndpointError(
            "TARGET=aws: this command does not support AWS yet; nothing was changed"
        )

    def _prepare(self) -> JobRequest:
        account = self._account
        outputs = account.outputs(StackName.BASE) | account.outputs(StackName.MLFLOW)
        return JobRequest(
            settings=self.settings,
            stage=self.stage,
            outputs=outputs,
            tables=find_tables(self.settings, account, outputs[StackOutput.ARTIFACT_BUCKET]),
            train_image=find_image(account, Image.TRAIN),
            serve_image=find_image_digest(account, Image.SERVE),
            commit=get_commit(),
            hourly_usd=load_prices().get("instance_hourly", self.stage.training_instance_type),
        )

    def _find_or_start(self, request: JobRequest, force: bool) -> JobState:
        """Return the training's job if it runs or is completed; else start one."""
        latest = TrainingJobs(self._account).find_latest(request.job_prefix)
        if latest and latest.is_running:
            logger.info("Job %s runs already", latest.name)
            self._running_job = latest.name
            return latest
        if latest and latest.status == "Completed" and not force and self._has_result(latest):
            logger.info(
                "Already trained on the same data, code and settings (job %s); "
                "FORCE=1 trains it again",
                latest.name,
            )
            return latest
        return self._start(request, latest, force)

    def _start(
        self, request: JobRequest, previous: JobState | None, force: bool, spent_seconds: int = 0
    ) -> JobState:
        """Start the next job of a training.

        Args:
            request: The training.
            previous: Its latest job.
            force: Whether to train what is tracked already.
            spent_seconds: What the job that is repeated has used of the time limit.
        """
        check_capacity(request.tables, self.settings, self.stage, self._account)
        number = int(previous.name.removeprefix(request.job_prefix)) + 1 if previous else 1
        name = f"{request.job_prefix}{number}"
        # A training that did not complete goes on with what it has tracked itself.
        incomplete = previous and previous.status != "Completed"
        resumed = previous and incomplete and (previous.forced or not force)
        resume_id = previous.resume_id if previous and resumed else name
        self._announce(name, request)
        protect_image(self._account, Image.TRAIN, request.train_image.partition("@")[2])
        for table in request.tables:
            upload_table(table, self._account)
        self._put_settings(name, request)
        arguments = request.to_arguments(name, resume_id, force, spent_seconds)
        state = TrainingJobs(self._account).create(arguments)
        self._running_job = name
        return state

    def _announce(self, name: str, request: JobRequest) -> None:
        training = request.settings.training
        cost = training.max_hours * training.instances * request.hourly_usd
        logger.info(
            "Starting job %s on %d x %s%s: at most %g h, which costs at most %.2f USD",
            name,
            training.instances,
            self.stage.training_instance_type,
            " (spot)" if training.spot else "",
            training.max_hours,
            cost,
        )

    def _put_settings(self, job: str, request: JobRequest) -> None:
        uri = request.settings_uri(job)
        bucket, key = split_uri(uri)
        body = request.settings_json().encode()
        call_patiently(
            self._account,
            uri,
            lambda: self._account.client("s3").put_object(Bucket=bucket, Key=key, Body=body),
        )

    def _follow(self, state: JobState, progress: "Progress") -> JobState:
        """Report the progress of a job until it ends; return its last state."""
        jobs, log = TrainingJobs(self._account), JobLog(self._account, state.name)
        reader, reported = ProgressReader(progress), 0
        while True:
            state = jobs.describe(state.name)
            for step in state.steps[reported:]:
                if step in STEPS:
                    logger.info("Job %s: %s", state.name, STEPS[step])
            reported = len(state.steps)
            for line in log.read():
                if not reader.read(line):
                    logger.info("  %s", line)
            if not state.is_running:
                return state
            time.sleep(POLL_SECONDS)

    def _summarize(self, state: JobState) -> TrainingJob:
        step = STEPS.get(state.step, state.step) if state.is_running else state.reason
        hourly_usd = load_prices().get("instance_hourly", state.instance_type)
        return TrainingJob(
            name=state.name,
            status=state.status,
            step="" if state.status == "Completed" else step,
            compute=f"{state.instances} x {state.instance_type}{' (spot)' if state.spot else ''}",
            started_at=state.created_at,
            ended_at=state.ended_at,
            cost_usd=None if state.is_running else state.billable_hours * hourly_usd,
        )

    def _explain(self, state: JobState) -> str:
        line = f"job {state.name} {state.status.lower()}: {state.reason}"
        if state.is_input_error:
            return line
        command = f"make train TARGET=aws STAGE={self.stage.name}"
        return f"{line}; what is tracked is kept: {command} trains the rest"

    def _report_cost(self, state: JobState, hourly_usd: float) -> None:
        saved = ""
        if state.spot and state.training_seconds:
            saved = f"; spot saved {1 - state.billable_seconds / state.training_seconds:.0%}"
        logger.info(
            "Job %s: %d billable seconds on %d x %s, about %.2f USD%s",
            state.name,
            state.billable_seconds,
            state.instances,
            state.instance_type,
            state.billable_hours * hourly_usd,
            saved,
        )

    def _has_result(self, state: JobState) -> bool:
        """Return whether the result of a job is still in S3, where it expires."""
        bucket, key = split_uri(state.output_uri)

        def exists() -> bool:
            try:
                self._account.client("s3").head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                    return False
                raise
            return True

        return call_patiently(self._account, state.output_uri, exists)

    def _read_result(self, state: JobState) -> TrainingResult:
        uri = state.output_uri
        bucket, key = split_uri(uri)

        def download() -> bytes:
            response = self._account.client("s3").get_object(Bucket=bucket, Key=key)
            return bytes(response["Body"].read())

        content = call_patiently(self._account, uri, download)
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                member = next(
                    member for member in archive if member.name.split("/")[-1] == RESULT_FILE
                )
                file = archive.extractfile(member)
                result = json.loads(file.read()) if file else {}
            release = result.pop("release")
            training = TrainingResult.from_json(result)
        except (tarfile.TarError, StopIteration, ValueError, KeyError, TypeError) as error:
            raise TrainingJobError(f"{uri}: not the result of a training: {error}") from None
        logger.info(
            "Released %s version %s (sha256 %s)",
            release["model"],
            release["version"],
            release["digest"][:12],
        )
        return training
