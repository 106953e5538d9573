"""The request of a training job, from the settings and the outputs of a stage's stacks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.names import BucketPrefix, MlflowUser, StackOutput, training_job_prefix
from contract.settings.loader import Settings
from contract.settings.stage import Stage
from contract.training_job import FORCE, SETTINGS_FILE, TABLE_KEYS, Channel, JobVariable
from endpoints.sagemaker.tables import Table
from training.progress_lines import METRIC_DEFINITIONS
from training.result_settings import result_settings

KEY_LENGTH = 12
"""The hexadecimal digits of a training's key in the names of its jobs."""
LEAST_SECONDS = 60
"""The shortest time limit of a job."""
SENT_SECTIONS = frozenset({"data", "features", "training", "grids"})
Outputs = Mapping[StackOutput, str]


@dataclass(frozen=True)
class NextJob:
    """What differs between the jobs of a training."""

    name: str
    resume_id: str = ""
    """The name of the first of the jobs that resume one another; by default this one's."""
    force: bool = False
    """Whether to train combinations that are tracked already."""
    used_seconds: int = 0
    """How much of training.max_hours the job that is repeated has used."""
    elapsed_seconds: int = 0
    """How much of training.max_wait_hours has elapsed since that job was created."""


@dataclass(frozen=True)
class JobRequest:
    """What a training needs on a stage; its jobs differ by a `NextJob`."""

    settings: Settings
    stage: Stage
    outputs: Outputs
    tables: Sequence[Table]
    train_image: str
    """The image's URI with its digest."""
    serve_image: str
    """The digest of the serving image of the same code; empty if none was pushed."""
    commit: str
    hourly_usd: float
    """The price of one instance."""

    @property
    def key(self) -> str:
        """Identifies the training: its data, its code and the settings that affect results."""
        content = {
            "image": self.train_image.partition("@")[2],
            "tables": {table.channel: table.digest for table in self.tables},
            "settings": result_settings(self.settings),
            "families": self.settings.training.families,
            "grids": self.settings.grids,
            # Where its runs and its release are found.
            "experiment": self.settings.training.experiment,
            "model": self.settings.release.model,
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    @property
    def job_prefix(self) -> str:
        """What the names of the training's jobs start with; a counter follows."""
        return f"{training_job_prefix(self.stage)}{self.key}-"

    def settings_uri(self, job: str) -> str:
        """Return where the settings of a job are stored."""
        return f"{self._bucket}{BucketPrefix.JOBS}{job}/{Channel.CONFIG}/{SETTINGS_FILE}"

    def settings_json(self) -> str:
        """Return the settings that a job receives: with the tables in S3, without AWS."""
        sections = self.settings.model_dump(mode="json", include=set(SENT_SECTIONS))
        for table in self.tables:
            sections["data"][TABLE_KEYS[table.channel]] = table.uri
        sections["release"] = {
            "model": self.settings.release.model,
            "store": f"{self._bucket}{BucketPrefix.RELEASES}".rstrip("/"),
        }
        return json.dumps(sections, indent=2)

    def max_seconds(self, job: NextJob) -> int:
        """Return the time limit of a job."""
        seconds = round(self.settings.training.max_hours * 3600)
        return max(seconds - job.used_seconds, LEAST_SECONDS)

    def to_arguments(self, job: NextJob) -> dict[str, Any]:
        """Return the arguments of sagemaker.core's `TrainingJob.create`.

        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html

        Args:
            job: The job to create.
        """
        # Takes seconds to load, and is needed to create a job only.
        from sagemaker.core import shapes  # noqa: PLC0415

        outputs = self.outputs
        return {
            "training_job_name": job.name,
            "role_arn": outputs[StackOutput.TRAINING_ROLE],
            "algorithm_specification": shapes.AlgorithmSpecification(
                training_image=self.train_image,
                training_input_mode="File",
                metric_definitions=[
                    shapes.MetricDefinition(name=name, regex=regex)
                    for name, regex in METRIC_DEFINITIONS.items()
                ],
            ),
            "hyper_parameters": {FORCE: json.dumps(job.force)},
            "environment": self._environment(job.resume_id or job.name),
            "input_data_config": [
                shapes.Channel(
                    channel_name=name,
                    data_source=shapes.DataSource(
                        s3_data_source=shapes.S3DataSource(s3_data_type="S3Prefix", s3_uri=uri)
                    ),
                )
                for name, uri in self._channels(job).items()
            ],
            "output_data_config": shapes.OutputDataConfig(
                s3_output_path=f"{self._bucket}{BucketPrefix.JOBS}",
                kms_key_id=outputs[StackOutput.DATA_KEY],
            ),
            "resource_config": shapes.ResourceConfig(**self._resources()),
            "stopping_condition": shapes.StoppingCondition(**self._limits(job)),
            "enable_managed_spot_training": self.settings.training.spot,
            "vpc_config": shapes.VpcConfig(
                subnets=outputs[StackOutput.PRIVATE_SUBNETS].split(","),
                security_group_ids=[outputs[StackOutput.TRAINING_SECURITY_GROUP]],
            ),
            # SageMaker's own profiler, which would write to S3 and needs more permissions.
            "profiler_config": shapes.ProfilerConfig(disable_profiler=True),
            "tags": [{"key": name, "value": value} for name, value in self._tags().items()],
        }

    def _channels(self, job: NextJob) -> dict[Channel, str]:
        config = self.settings_uri(job.name).removesuffix(SETTINGS_FILE)
        return {Channel.CONFIG: config, **{table.channel: table.uri for table in self.tables}}

    def _resources(self) -> dict[str, object]:
        key = {"volume_kms_key_id": self.outputs[StackOutput.DATA_KEY]}
        return {
            "instance_type": self.stage.training_instance_type,
            "instance_count": self.settings.training.instances,
            "volume_size_in_gb": self.settings.training.volume_gb,
            **({} if self.stage.training_has_local_storage else key),
        }

    def _limits(self, job: NextJob) -> dict[str, int]:
        seconds = self.max_seconds(job)
        limits = {"max_runtime_in_seconds": seconds}
        if self.settings.training.spot:
            waiting = round(self.settings.training.max_wait_hours * 3600) - job.elapsed_seconds
            # It includes the running time, and AWS refuses one that is shorter.
            limits["max_wait_time_in_seconds"] = max(waiting, seconds)
        return limits

    @property
    def _bucket(self) -> str:
        return f"s3://{self.outputs[StackOutput.ARTIFACT_BUCKET]}/"

    def _environment(self, resume_id: str) -> dict[str, str]:
        """Return the job's variables; none is a secret, and none is longer than 512 characters."""
        return {
            # boto3 reads the region from this variable only.
            "AWS_DEFAULT_REGION": self.stage.region,
            "MLFLOW_TRACKING_URI": self.outputs[StackOutput.MLFLOW_URI],
            "MLFLOW_TRACKING_USERNAME": MlflowUser.TRAINING,
            JobVariable.PASSWORD_SECRET: self.outputs[StackOutput.MLFLOW_TRAINING_SECRET],
            JobVariable.RESUME_ID: resume_id,
            JobVariable.GIT_COMMIT: self.commit,
            JobVariable.TRAIN_IMAGE: self.train_image.partition("@")[2],
            JobVariable.SERVE_IMAGE: self.serve_image,
            JobVariable.HOURLY_USD: str(self.hourly_usd),
        }

    def _tags(self) -> dict[str, str]:
        stage = self.stage
        tags = {"project": stage.project, "stage": stage.name, "stack": stage.prefix}
        return tags | {"commit": self.commit or "unknown", "training": self.key}
