"""What a template costs a month: each resource type has a price here, or is known to have none."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import InfraError, SettingsError
from contract.settings.stage import Stage

Template = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of the bill."""

    what: str
    """What kind of thing is paid."""
    name: str
    """Which one, by its logical id in the template."""
    quantity: float
    unit: str
    unit_price: float
    assumption: str

    @property
    def monthly(self) -> float:
        """US dollars a month."""
        return self.quantity * self.unit_price


class Prices:
    """The file of prices and assumptions."""

    def __init__(self, file: Path) -> None:
        """Read it.

        Raises:
            SettingsError: It is missing or no TOML.
        """
        try:
            self._content = tomllib.loads(file.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{file.name}: can't be read: {error}") from None
        self._name = file.name

    def __call__(self, table: str, key: str) -> float:
        """Return a price or an assumption.

        Raises:
            SettingsError: It isn't in the file.
        """
        try:
            return float(self._content[table][key])
        except (KeyError, TypeError, ValueError):
            raise SettingsError(f"{self._name}: {table}.{key!r} is missing") from None

    @property
    def about(self) -> str:
        """Where and when they were so."""
        return f"{self._content.get('region', '?')}, {self._content.get('as_of', '?')}"


@dataclass(frozen=True)
class Bill:
    """What the resources of a template are priced with."""

    prices: Prices
    stage: Stage
    template: Template

    @property
    def hours(self) -> float:
        """Of a month."""
        return self.prices("assumed", "hours")

    def hourly(
        self, what: str, name: str, key: str, count: float = 1, why: str = "all month"
    ) -> Line:
        """Return a line of something that is there all month."""
        return Line(what, name, count * self.hours, "hours", self.prices("hour", key), why)

    def monthly(
        self, what: str, name: str, key: str, count: float = 1, why: str = "all month"
    ) -> Line:
        """Return a line of something that is paid by the month."""
        return Line(what, name, count, "months", self.prices("month", key), why)

    def stored(self, what: str, name: str, key: str) -> Line:
        """Return a line of gigabytes that are kept."""
        size = self.prices("assumed", key)
        return Line(what, name, size, "GB", self.prices("month", key), f"{size:g} GB in each")

    def moved(self, what: str, name: str, key: str, size: float) -> Line:
        """Return a line of gigabytes that go through."""
        return Line(what, name, size, "GB", self.prices("gb", key), f"{size:g} GB through each")


Pricing = Callable[[Bill, str, Mapping[str, Any]], list[Line]]


def _key(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.monthly("Keys", name, "key")]


def _secret(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.monthly("Secrets", name, "secret")]


def _bucket(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.stored("Buckets", name, "bucket_gb")]


def _repository(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.stored("Images", name, "repository_gb")]


def _log_group(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.moved("Logs", name, "log", bill.prices("assumed", "log_gb"))]


def _flow_log(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.moved("Flow logs", name, "flow_log", bill.prices("assumed", "flow_log_gb"))]


def _nat_gateway(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    size = bill.prices("assumed", "egress_gb")
    return [
        bill.hourly("NAT gateways", name, "nat_gateway"),
        bill.moved("Traffic out", name, "nat_gateway", size),
    ]


def _address(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.hourly("Public addresses", name, "public_address")]


def _endpoint(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    if wish.get("VpcEndpointType") != "Interface":
        return []  # a gateway: free
    zones, size = len(wish["SubnetIds"]), bill.prices("assumed", "egress_gb")
    return [
        bill.hourly(
            "Endpoints of services", name, "interface_endpoint", zones, f"in {zones} zone(s)"
        ),
        bill.moved("Traffic to services", name, "interface_endpoint", size),
    ]


def _load_balancer(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    units = bill.prices("assumed", "load_balancer_units")
    return [
        bill.hourly("Load balancer", name, "load_balancer"),
        bill.hourly(
            "Load balancer units", name, "load_balancer_unit", units, f"{units:g} on average"
        ),
    ]


def _service(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    # Zero before there is an image, and this many from then on.
    tasks = wish["DesiredCount"]["Fn::If"][1]
    task = bill.template["Resources"][wish["TaskDefinition"]["Ref"]]["Properties"]
    spot = any("SPOT" in one["CapacityProvider"] for one in wish["CapacityProviderStrategy"])
    kind, why = ("fargate_spot", "spot") if spot else ("fargate", "on demand")
    cpus, size = float(task["Cpu"]) / 1024, float(task["Memory"]) / 1024
    return [
        bill.hourly(
            "Tasks of MLflow, vCPU",
            name,
            f"{kind}_vcpu",
            tasks * cpus,
            f"{tasks} x {cpus:g}, {why}",
        ),
        bill.hourly(
            "Tasks of MLflow, GB", name, f"{kind}_gb", tasks * size, f"{tasks} x {size:g}, {why}"
        ),
    ]


def _task(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    if not wish["Family"].endswith("-forward"):
        return []  # its service runs it
    hours = bill.prices("assumed", "forwarding_hours")
    price = (
        bill.prices("hour", "fargate_vcpu") * float(wish["Cpu"])
        + bill.prices("hour", "fargate_gb") * float(wish["Memory"])
    ) / 1024
    return [Line("Task of make ui", name, hours, "hours", price, "while somebody looks at MLflow")]


def _database(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    kind = wish["DBInstanceClass"].removeprefix("db.")
    count = 2 if wish["MultiAZ"] else 1
    why = "with a standby" if wish["MultiAZ"] else "in one zone"
    size = float(wish["AllocatedStorage"]) * count
    hour = bill.prices("database_hour", kind)
    return [
        Line("Database", name, count * bill.hours, "hours", hour, f"{kind}, {why}"),
        Line("Database disk, GB", name, size, "GB", bill.prices("month", "database_gb"), why),
    ]


def _alarm(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    metrics = sum("MetricStat" in one for one in wish.get("Metrics", [])) or 1
    return [bill.monthly("Alarms, metrics", name, "alarm_metric", metrics, f"{metrics} metric(s)")]


def _dashboard(bill: Bill, name: str, _: Mapping[str, Any]) -> list[Line]:
    return [bill.monthly("Dashboard", name, "dashboard")]


def _cluster(bill: Bill, name: str, wish: Mapping[str, Any]) -> list[Line]:
    settings = {one["Name"]: one["Value"] for one in wish.get("ClusterSettings", [])}
    if settings.get("containerInsights") != "enabled":
        return []
    count = bill.prices("assumed", "insights_metrics")
    why = f"{count:g} metrics of a cluster with one service"
    return [bill.monthly("Container Insights, metrics", name, "metric", count, why)]


PRICED: dict[str, Pricing] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _dashboard,
    "AWS::EC2::EIP": _address,
    "AWS::EC2::FlowLog": _flow_log,
    "AWS::EC2::NatGateway": _nat_gateway,
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ECR::Repository": _repository,
    "AWS::ECS::Cluster": _cluster,
    "AWS::ECS::Service": _service,
    "AWS::ECS::TaskDefinition": _task,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::KMS::Key": _key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::RDS::DBInstance": _database,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
}
FREE = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "what it starts is paid",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "what it starts is paid",
    "AWS::Budgets::Budget": "one that only tells",
    "AWS::EC2::InternetGateway": "free",
    "AWS::EC2::Route": "free",
    "AWS::EC2::RouteTable": "free",
    "AWS::EC2::SecurityGroup": "free",
    "AWS::EC2::SecurityGroupEgress": "free",
    "AWS::EC2::SecurityGroupIngress": "free",
    "AWS::EC2::Subnet": "free",
    "AWS::EC2::SubnetRouteTableAssociation": "free",
    "AWS::EC2::VPC": "free",
    "AWS::EC2::VPCGatewayAttachment": "free",
    "AWS::ECS::ClusterCapacityProviderAssociations": "its tasks are paid",
    "AWS::ElasticLoadBalancingV2::Listener": "of a load balancer, which is paid",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "of a load balancer, which is paid",
    "AWS::Events::Rule": "AWS's own events",
    "AWS::IAM::Role": "free",
    "AWS::KMS::Alias": "of a key, which is paid",
    "AWS::RDS::DBParameterGroup": "free",
    "AWS::RDS::DBSubnetGroup": "free",
    "AWS::S3::BucketPolicy": "free",
    "AWS::SNS::Subscription": "the first 1,000 mails a month",
    "AWS::SNS::Topic": "the first million calls a month",
    "AWS::SNS::TopicPolicy": "free",
    "AWS::SSM::Parameter": "a standard one",
}


def price_template(template: Template, stage: Stage, prices: Prices) -> list[Line]:
    """Return what a template's resources cost a month.

    Raises:
        InfraError: A resource type is neither known to cost something nor to be free.
    """
    bill, lines = Bill(prices, stage, template), []
    for name, resource in template["Resources"].items():
        kind = resource["Type"]
        if pricing := PRICED.get(kind):
            lines += pricing(bill, name, resource.get("Properties", {}))
        elif kind not in FREE:
            raise InfraError(f"scripts/aws/pricing.py knows no price of {kind} ({name})")
    return lines


def price_later(stage: Stage, prices: Prices) -> list[Line]:
    """Return what `make deploy-endpoint` and trainings add to it."""
    hours, training = prices("assumed", "hours"), prices("assumed", "training_hours")
    served, trained = stage.endpoint_instance_type, stage.training_instance_type
    return [
        Line(
            "Endpoint",
            stage.endpoint,
            hours * stage.endpoint_instance_count,
            "hours",
            prices("instance_hour", served),
            f"{stage.endpoint_instance_count} x {served}, once it is deployed",
        ),
        Line("Training jobs", "", training, "hours", prices("instance_hour", trained), trained),
    ]
