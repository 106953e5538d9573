"""A stage of the stack on AWS: what `[infra]` says of all, and `[stages.<name>]` of one."""

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from contract.settings.sections import SettingsSection

NAME = r"^[a-z][a-z0-9-]*[a-z0-9]$"
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 3653)
"""What CloudWatch Logs takes for a retention."""


def _check_network(value: str) -> str:
    network = IPv4Network(value)
    if not network.is_private:
        raise ValueError("a private range is needed, as 10.20.0.0/16")
    if network.prefixlen < 16 or network.prefixlen > 22:
        # A sixteenth of it is a subnet, and a load balancer with its tasks needs some addresses.
        raise ValueError(f"/16 to /22 is needed, and /{network.prefixlen} is no such")
    return value


def _check_days(value: int) -> int:
    if value not in LOG_DAYS:
        raise ValueError(f"CloudWatch keeps logs for {', '.join(map(str, LOG_DAYS))} days")
    return value


FARGATE = {
    256: (1024, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16384),
    4096: (8192, 30720),
}
"""The sizes of a Fargate task: 1/1024 of a vCPU, and the MB of memory that go with it.

The smallest of Fargate's, 512 MB, is too small for MLflow.
"""
LogDays = Annotated[int, AfterValidator(_check_days)]
Cidr = Annotated[str, AfterValidator(_check_network)]


class Stage(SettingsSection):
    """All that differs from stage to stage, and where it is."""

    name: str = Field(pattern=NAME, max_length=8, examples=["prod"])
    project: str = Field(pattern=NAME, max_length=16, examples=["house-prices"])
    """The first part of every name on AWS."""
    account: str = Field(default="", pattern=r"^(\d{12})?$", examples=["123456789012"])
    """Another one is refused; empty is the one that the credentials are of."""
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", examples=["eu-central-1"])
    production: bool = False
    """Data outlives the stacks, deletions are refused, and there are two of everything."""
    endpoint: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", examples=["prod-endpoint"])

    cidr: Cidr = "10.20.0.0/16"
    zones: int = Field(default=2, ge=2, le=4)
    """Availability zones; a load balancer needs two."""
    egress: Literal["nat", "endpoints"] = "endpoints"
    """How the private subnets reach AWS: through the internet, or by PrivateLink alone."""
    egress_zones: int = Field(default=1, ge=1, le=4)
    """Zones that have a NAT gateway or endpoints of their own."""

    certificate_arn: str = Field(
        default="",
        pattern=r"^(arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:.+)?$",
        examples=["arn:aws:acm:eu-central-1:123456789012:certificate/..."],
    )
    """Of the tracking host's load balancer (ACM); empty is HTTP inside the network."""
    mlflow_domain: str = Field(
        default="", pattern=r"^([a-z0-9-]+\.)*[a-z0-9-]*$", examples=["mlflow.example.com"]
    )
    """The name that the certificate is for, pointing to the load balancer."""
    mlflow_tasks: int = Field(default=1, ge=1)
    mlflow_max_tasks: int = Field(default=2, ge=1)
    mlflow_cpu: int = 512
    """Of a task, in 1/1024 of a vCPU."""
    mlflow_memory_mb: int = 1024
    mlflow_spot: bool = False
    """Whether tasks may be taken away with two minutes' notice, at about a third of the price."""
    database_instance_class: str = Field(
        default="t4g.micro", pattern=r"^[a-z0-9]+\.[a-z0-9]+$", examples=["t4g.micro"]
    )
    database_gb: int = Field(default=20, ge=20)
    backup_retention_days: int = Field(default=1, ge=1, le=35)

    endpoint_instance_type: str = Field(
        default="ml.t2.medium", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", examples=["ml.m5.large"]
    )
    endpoint_instance_count: int = Field(default=1, ge=1)
    training_instance_type: str = Field(
        default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$", examples=["ml.m5.xlarge"]
    )

    log_retention_days: LogDays = 30
    access_log_retention_days: int = Field(default=30, ge=1)
    checkpoint_retention_days: int = Field(default=14, ge=1)
    captured_data_retention_days: int = Field(default=30, ge=1)

    alarm_email: str = Field(
        default="", pattern=r"^([^@\s]+@[^@\s]+\.[^@\s]+)?$", examples=["team@example.com"]
    )
    latency_alarm_ms: float = Field(default=250, gt=0)
    """Beyond it the slowest hundredth of requests raises an alarm."""
    idle_alarm_hours: int = Field(default=24, ge=1, le=168)
    """Without a request for so long, an endpoint has gone silent."""
    monthly_budget_usd: float = Field(default=100, gt=0)
    """A month; a forecast beyond it is told."""

    @model_validator(mode="after")
    def _check_whole(self) -> "Stage":
        if self.egress_zones > self.zones:
            raise ValueError(f"egress_zones: {self.egress_zones} of {self.zones} zones can't be")
        if self.mlflow_max_tasks < self.mlflow_tasks:
            raise ValueError("mlflow_max_tasks: fewer than mlflow_tasks")
        least, most = FARGATE.get(self.mlflow_cpu, (0, 0))
        if not most:
            raise ValueError(f"mlflow_cpu: Fargate has {', '.join(map(str, FARGATE))}")
        if not least <= self.mlflow_memory_mb <= most or self.mlflow_memory_mb % 1024:
            reason = f"Fargate has {least} to {most} in steps of 1024 with this mlflow_cpu"
            raise ValueError(f"mlflow_memory_mb: {reason}")
        if bool(self.certificate_arn) != bool(self.mlflow_domain):
            raise ValueError("certificate and mlflow_domain: one needs the other")
        if self.production:
            self._check_production()
        return self

    def _check_production(self) -> None:
        if not self.alarm_email:
            raise ValueError("alarm_email: a production stage needs an address for its alarms")
        for key in ("egress_zones", "mlflow_tasks", "endpoint_instance_count"):
            if getattr(self, key) < 2:
                raise ValueError(f"{key}: a production stage has two of everything")
        if self.mlflow_spot:
            raise ValueError("mlflow_spot: a production stage's tasks aren't taken away")

    @property
    def endpoint_vcpus(self) -> int:
        """Return how many virtual processors an instance of the endpoint has, by its size's name.

        In the families that SageMaker serves on, `medium` and `large` have 2, `xlarge` 4, `2xlarge`
        8, and so on.
        """
        size = self.endpoint_instance_type.rpartition(".")[2]
        number, xlarge, _ = size.partition("xlarge")
        return 4 * int(number or 1) if xlarge and (number or "1").isdigit() else 2

    @property
    def prefix(self) -> str:
        """What the stage's names on AWS begin with."""
        return f"{self.project}-{self.name}"
