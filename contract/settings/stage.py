"""A stage on AWS: the keys of `[infra]`, which all stages share, and of `[stages.<name>]`."""

import re
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from contract.settings.sections import SettingsSection

NAME_PATTERN = r"^[a-z][a-z0-9-]*[a-z0-9]$"
ARM_INSTANCE_TYPE = re.compile(r"^ml\.([a-z]+\d+[a-z]*g[a-z]*|[a-z0-9]+-gb\d+)\.")
"""The SageMaker instance types with an ARM processor.

AWS's own one, Graviton, is the attribute `g` after the generation: `ml.m6gd`, but not `ml.g4dn`
(https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html). NVIDIA's GB200 has
ARM cores too (https://aws.amazon.com/ec2/instance-types/p6/).
"""
LOCAL_STORAGE_INSTANCE_TYPE = re.compile(r"^ml\.([a-z]+\d+[a-z]*d|g[5-7]|p[56]|trn)")
"""The SageMaker instance types with NVMe storage.

It is the attribute `d` after the generation: `ml.r5d`, `ml.p3dn`
(https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html). Newer families with
accelerators have it without the attribute.
"""
LOG_RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180),
    *(365, 400, 545, 731, 1096, 1827, 2192, 3653),
)
"""The retention periods of CloudWatch Logs, in days."""


def _check_cidr(value: str) -> str:
    network = IPv4Network(value)
    if not network.is_private:
        raise ValueError("expected a private range like 10.20.0.0/16")
    if network.prefixlen < 16 or network.prefixlen > 22:
        # A subnet is a sixteenth of it, and needs addresses for a load balancer and its tasks.
        raise ValueError("expected a range from /16 to /22")
    return value


def _check_log_retention(value: int) -> int:
    if value not in LOG_RETENTION_DAYS:
        supported = ", ".join(map(str, LOG_RETENTION_DAYS))
        raise ValueError(f"expected a retention period of CloudWatch Logs ({supported})")
    return value


FARGATE_MEMORY_MB = {
    256: (1024, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16384),
    4096: (8192, 30720),
}
"""The sizes of a Fargate task: its CPU in 1/1024 of a vCPU, and its least and most memory in MB.

Fargate's smallest size, 512 MB, is omitted: it is too small for MLflow.
"""
LogRetentionDays = Annotated[int, AfterValidator(_check_log_retention)]
Cidr = Annotated[str, AfterValidator(_check_cidr)]


class Platform(StrEnum):
    """The platforms of images on AWS, as container engines name them."""

    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


class Stage(SettingsSection):
    """The settings of one stage."""

    name: str = Field(pattern=NAME_PATTERN, max_length=8, examples=["prod"])
    """The name of the section: `dev` for `[stages.dev]`."""
    project: str = Field(pattern=NAME_PATTERN, max_length=16, examples=["house-prices"])
    """The prefix of every name on AWS."""
    account: str = Field(default="", pattern=r"^(\d{12})?$", examples=["123456789012"])
    """The AWS account ID; credentials of another account are refused. Empty accepts any account."""
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", examples=["eu-central-1"])
    """The AWS region."""
    production: bool = False
    """Whether to retain data, to refuse deletion, and to require redundancy."""
    endpoint: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", examples=["prod-endpoint"])
    """The name of the SageMaker endpoint."""

    cidr: Cidr = "10.20.0.0/16"
    """The private IPv4 range of the VPC, from /16 to /22."""
    zones: int = Field(default=2, ge=2, le=4)
    """The number of availability zones; a load balancer needs two."""
    egress: Literal["nat", "endpoints"] = "endpoints"
    """How private subnets reach AWS: NAT gateways, or VPC endpoints (PrivateLink)."""
    egress_zones: int = Field(default=1, ge=1, le=4)
    """The number of zones with their own NAT gateway or VPC endpoints."""

    certificate_arn: str = Field(
        default="",
        pattern=r"^(arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:.+)?$",
        examples=["arn:aws:acm:eu-central-1:123456789012:certificate/..."],
    )
    """The ACM certificate of MLflow's load balancer; empty is plain HTTP inside the VPC."""
    mlflow_domain: str = Field(
        default="", pattern=r"^([a-z0-9-]+\.)*[a-z0-9-]*$", examples=["mlflow.example.com"]
    )
    """The certificate's domain name, whose DNS record points to the load balancer."""
    mlflow_tasks: int = Field(default=1, ge=1)
    """The least number of Fargate tasks that run MLflow."""
    mlflow_max_tasks: int = Field(default=2, ge=1)
    """The greatest number of tasks that autoscaling may start."""
    mlflow_cpu: int = 512
    """The CPU of a task, in 1/1024 of a vCPU."""
    mlflow_memory_mb: int = 1024
    """The memory of a task, in MB."""
    mlflow_spot: bool = False
    """Whether to use Fargate Spot: a third of the price, interrupted with two minutes' notice."""
    database_instance_class: str = Field(
        default="t4g.micro", pattern=r"^[a-z0-9]+\.[a-z0-9]+$", examples=["t4g.micro"]
    )
    """The RDS instance class, without the prefix `db.`."""
    database_gb: int = Field(default=20, ge=20)
    """The database's storage, in GB."""
    backup_retention_days: int = Field(default=1, ge=1, le=35)
    """How long the database's automated backups are kept, in days."""

    endpoint_instance_type: str = Field(
        default="ml.t2.medium", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", examples=["ml.m5.large"]
    )
    """The SageMaker instance type of the endpoint."""
    endpoint_instance_count: int = Field(default=1, ge=1)
    """The number of instances of the endpoint."""
    training_instance_type: str = Field(
        default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", examples=["ml.m5.xlarge"]
    )
    """The SageMaker instance type of training jobs."""

    log_retention_days: LogRetentionDays = 30
    """How long CloudWatch Logs are kept, in days."""
    access_log_retention_days: int = Field(default=30, ge=1)
    """How long the access logs of buckets and of the load balancer are kept, in days."""
    job_retention_days: int = Field(default=90, ge=1)
    """How long the settings and outputs of training jobs are kept, in days."""
    captured_data_retention_days: int = Field(default=30, ge=1)
    """How long captured requests and responses are kept, in days."""

    alarm_email: str = Field(
        default="", pattern=r"^([^@\s]+@[^@\s]+\.[^@\s]+)?$", examples=["team@example.com"]
    )
    """The address that alarms and budget notifications are sent to."""
    latency_alarm_ms: float = Field(default=250, gt=0)
    """The alarm threshold of the endpoint's 99th percentile latency, in milliseconds."""
    idle_alarm_hours: int = Field(default=24, ge=1, le=168)
    """How long the endpoint may go without a request before an alarm, in hours."""
    monthly_budget_usd: float = Field(default=100, gt=0)
    """The monthly budget in US dollars; a forecast above it sends a notification."""

    @model_validator(mode="after")
    def _check_consistency(self) -> "Stage":
        if self.egress_zones > self.zones:
            raise ValueError(f"egress_zones: {self.egress_zones} is more than zones, {self.zones}")
        if self.mlflow_max_tasks < self.mlflow_tasks:
            counts = f"{self.mlflow_max_tasks} is less than mlflow_tasks, {self.mlflow_tasks}"
            raise ValueError(f"mlflow_max_tasks: {counts}")
        self._check_task_size()
        if bool(self.certificate_arn) != bool(self.mlflow_domain):
            raise ValueError("certificate_arn: set it together with mlflow_domain, or neither")
        if self.production:
            self._check_production()
        return self

    def _check_task_size(self) -> None:
        least, most = FARGATE_MEMORY_MB.get(self.mlflow_cpu, (0, 0))
        if not most:
            supported = ", ".join(map(str, FARGATE_MEMORY_MB))
            raise ValueError(f"mlflow_cpu: Fargate supports {supported}")
        if not least <= self.mlflow_memory_mb <= most or self.mlflow_memory_mb % 1024:
            reason = f"Fargate supports {least} to {most} in steps of 1024 with this mlflow_cpu"
            raise ValueError(f"mlflow_memory_mb: {reason}")

    def _check_production(self) -> None:
        if not self.alarm_email:
            raise ValueError("alarm_email: a production stage needs an address for alarms")
        for key in ("egress_zones", "mlflow_tasks", "endpoint_instance_count"):
            if getattr(self, key) < 2:
                raise ValueError(f"{key}: a production stage needs at least 2")
        if self.mlflow_spot:
            raise ValueError("mlflow_spot: a production stage can't use Spot capacity")

    @property
    def endpoint_vcpus(self) -> int:
        """The vCPUs of one endpoint instance."""
        return count_vcpus(self.endpoint_instance_type)

    @property
    def training_has_local_storage(self) -> bool:
        """Whether training instances have NVMe storage, which SageMaker encrypts by its own key.

        A request for such an instance type can't name a key for the volume.
        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
        """
        return bool(LOCAL_STORAGE_INSTANCE_TYPE.match(self.training_instance_type))

    @property
    def endpoint_platform(self) -> Platform:
        """The platform of the serving image, derived from the endpoint's instance type."""
        return _platform_of(self.endpoint_instance_type)

    @property
    def training_platform(self) -> Platform:
        """The platform of the training image, derived from the instance type of training jobs."""
        return _platform_of(self.training_instance_type)

    @property
    def prefix(self) -> str:
        """The prefix of the stage's names on AWS: `house-prices-dev`."""
        return f"{self.project}-{self.name}"


def count_vcpus(instance_type: str) -> int:
    """Return the vCPUs of an instance type, derived from the name of its size.

    In the instance families that SageMaker trains and serves on, `medium` and `large` have 2,
    `xlarge` has 4, `2xlarge` has 8, and so on.
    """
    size = instance_type.rpartition(".")[2]
    number, xlarge, _ = size.partition("xlarge")
    return 4 * int(number or 1) if xlarge and (number or "1").isdigit() else 2


def _platform_of(instance_type: str) -> Platform:
    return Platform.ARM64 if ARM_INSTANCE_TYPE.match(instance_type) else Platform.AMD64
