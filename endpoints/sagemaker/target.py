"""A stage on AWS as a target: training jobs on SageMaker.

One job in the private network owns a training: grids, tracking and release. This side starts it,
follows its log and reads its result; it never reaches the tracking server.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from aws.account import AwsAccount
from aws.images import find_image, find_image_digest, protect_image
from aws.prices import load_prices
from aws.retries import call_with_retries
from contract.errors import EndpointError, StackError, TrainingJobError
from contract.git import get_commit
from contract.names import Image, StackName, StackOutput, make_command
from contract.release import Release
from contract.settings.loader import Settings
from contract.settings.stage import Stage
from endpoints.sagemaker.capacity import check_capacity
from endpoints.sagemaker.job_log import JobLog
from endpoints.sagemaker.job_result import has_result, read_result
from endpoints.sagemaker.jobs import JobState, TrainingJobs
from endpoints.sagemaker.request import JobRequest, NextJob
from endpoints.sagemaker.tables import find_tables, split_uri, upload_table
from endpoints.target import (
    JSON,
    DeploymentResult,
    InvocationResponse,
    Status,
    Target,
    TrainingJob,
)
from training.family_registry import check_family_names
from training.progress_lines import ProgressReader

if TYPE_CHECKING:
    from training.result import Progress, TrainingResult

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
            command = make_command(self.stage, "train TARGET=aws")
            self._connected.how_to_continue = (
                f"a job that runs continues: renew the credentials, and run {command} again"
            )
        return self._connected

    def train(self, progress: "Progress", force: bool = False) -> "TrainingResult":
        """Run a training job to its end, and return its result; see `Target`."""
        request = self._prepare()
        state = self._find_or_start(request, force)
        if not self._running_job:
            return read_result(self._account, state.output_uri)
        state = self._follow(state, progress)
        _report_cost(state)
        if state.may_be_repeated:
            logger.info("Job %s failed: %s; starting it again", state.name, state.reason)
            state = self._follow(self._repeat(request, state), progress)
            _report_cost(state)
        self._running_job = ""
        if state.status != "Completed":
            raise TrainingJobError(self._explain(state))
        return read_result(self._account, state.output_uri)

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
        check_family_names(self.settings)
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
            advice = "; FORCE=1 has no effect on it" if force and not latest.forced else ""
            logger.info("Job %s runs already%s", latest.name, advice)
            self._running_job = latest.name
            return latest
        is_completed = latest and latest.status == "Completed"
        if latest and is_completed and not force and has_result(self._account, latest.output_uri):
            logger.info(
                "Already trained on the same data, code and settings (job %s); "
                "FORCE=1 trains it again",
                latest.name,
            )
            return latest
        return self._start(request, latest, force)

    def _start(self, request: JobRequest, previous: JobState | None, force: bool) -> JobState:
        """Start the next job of a training.

        Args:
            request: The training.
            previous: Its latest job.
            force: Whether to train what is tracked already.
        """
        check_capacity(request.tables, self.settings, self.stage, self._account)
        number = int(previous.name.removeprefix(request.job_prefix)) + 1 if previous else 1
        job = NextJob(f"{request.job_prefix}{number}", force=force)
        # A training that did not complete is resumed in its own run, whoever started it.
        if previous and previous.status != "Completed" and (previous.forced or not force):
            job = replace(job, resume_id=previous.resume_id, force=previous.forced)
        for table in request.tables:
            upload_table(table, self._account)
        return self._create(request, job)

    def _repeat(self, request: JobRequest, failed: JobState) -> JobState:
        """Start a failed job again, with what is left of its time limits.

        The tables are in S3 already; those on this machine may have changed since.
        """
        number = int(failed.name.removeprefix(request.job_prefix)) + 1
        ended_at = failed.ended_at or failed.created_at
        return self._create(
            request,
            NextJob(
                f"{request.job_prefix}{number}",
                resume_id=failed.resume_id,
                force=failed.forced,
                used_seconds=failed.training_seconds,
                elapsed_seconds=round((ended_at - failed.created_at).total_seconds()),
            ),
        )

    def _create(self, request: JobRequest, job: NextJob) -> JobState:
        self._announce(request, job)
        protect_image(self._account, Image.TRAIN, request.train_image.partition("@")[2])
        self._put_settings(job.name, request)
        # First: the job that an interrupted call may have created can then be stopped.
        self._running_job = job.name
        return TrainingJobs(self._account).create(request.to_arguments(job))

    def _announce(self, request: JobRequest, job: NextJob) -> None:
        training = request.settings.training
        hours = request.max_seconds(job) / 3600
        logger.info(
            "Starting job %s on %d x %s%s: at most %.3g h, which costs at most about %.2f USD",
            job.name,
            training.instances,
            self.stage.training_instance_type,
            " (spot)" if training.spot else "",
            hours,
            hours * training.instances * request.hourly_usd,
        )

    def _put_settings(self, job: str, request: JobRequest) -> None:
        uri = request.settings_uri(job)
        bucket, key = split_uri(uri)
        body = request.settings_json().encode()
        call_with_retries(
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
        return TrainingJob(
            name=state.name,
            status=state.status,
            step="" if state.status == "Completed" else step,
            compute=f"{state.instances} x {state.instance_type}{' (spot)' if state.spot else ''}",
            started_at=state.created_at,
            ended_at=state.ended_at,
            cost_usd=None if state.is_running else _cost_usd(state),
        )

    def _explain(self, state: JobState) -> str:
        line = f"job {state.name} {state.status.lower()}: {state.reason}"
        if state.is_input_error:
            return line
        command = make_command(self.stage, "train TARGET=aws")
        return f"{line}; what is tracked is kept: {command} trains the rest"


def _report_cost(state: JobState) -> None:
    saved = ""
    if state.spot and state.training_seconds:
        saved = f"; spot saved {1 - state.billable_seconds / state.training_seconds:.0%}"
    logger.info(
        "Job %s: %d billable seconds on %d x %s, about %.2f USD%s",
        state.name,
        state.billable_seconds,
        state.instances,
        state.instance_type,
        _cost_usd(state),
        saved,
    )


def _cost_usd(state: JobState) -> float:
    return state.billable_hours * load_prices().get("instance_hourly", state.instance_type)
