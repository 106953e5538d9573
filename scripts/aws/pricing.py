"""Monthly costs of CloudFormation templates: each resource type has a price here, or is free."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aws.prices import PriceList
from contract.errors import InfraError
from contract.settings.stage import Stage

Template = Mapping[str, Any]
Properties = Mapping[str, Any]


@dataclass(frozen=True)
class CostItem:
    """The cost of one resource, or of one of its price components."""

    category: str
    """What is charged, such as `NAT gateways`."""
    resource: str
    """The logical ID of the resource in the template."""
    quantity: float
    unit: str
    unit_price: float
    """In US dollars."""
    assumption: str

    @property
    def monthly_usd(self) -> float:
        """The cost per month in US dollars."""
        return self.quantity * self.unit_price


@dataclass(frozen=True)
class CostCalculator:
    """Calculates the cost items of a template's resources."""

    prices: PriceList
    template: Template

    @property
    def hours(self) -> float:
        """The hours of a month."""
        return self.prices.get("assumptions", "hours")

    def by_hour(
        self, category: str, resource: str, key: str, count: float = 1, why: str = "all month"
    ) -> CostItem:
        """Return the cost of something that runs all month and is charged by the hour."""
        price = self.prices.get("hourly", key)
        return CostItem(category, resource, count * self.hours, "hours", price, why)

    def by_month(
        self, category: str, resource: str, key: str, count: float = 1, why: str = "all month"
    ) -> CostItem:
        """Return the cost of something that is charged by the month."""
        price = self.prices.get("monthly", key)
        return CostItem(category, resource, count, "months", price, why)

    def storage(self, category: str, resource: str, key: str) -> CostItem:
        """Return the cost of stored gigabytes."""
        size, price = self.prices.get("assumptions", key), self.prices.get("monthly", key)
        return CostItem(category, resource, size, "GB", price, f"{size:g} GB in each")

    def traffic(self, category: str, resource: str, key: str, size: float) -> CostItem:
        """Return the cost of transferred gigabytes."""
        price = self.prices.get("per_gb", key)
        return CostItem(category, resource, size, "GB", price, f"{size:g} GB through each")


Pricer = Callable[[CostCalculator, str, Properties], list[CostItem]]


def _key(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.by_month("Keys", name, "key")]


def _secret(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.by_month("Secrets", name, "secret")]


def _bucket(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.storage("Buckets", name, "bucket_gb")]


def _repository(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.storage("Images", name, "repository_gb")]


def _log_group(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.traffic("Logs", name, "log", costs.prices.get("assumptions", "log_gb"))]


def _flow_log(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    size = costs.prices.get("assumptions", "flow_log_gb")
    return [costs.traffic("Flow logs", name, "flow_log", size)]


def _nat_gateway(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    size = costs.prices.get("assumptions", "egress_gb")
    return [
        costs.by_hour("NAT gateways", name, "nat_gateway"),
        costs.traffic("NAT gateway traffic", name, "nat_gateway", size),
    ]


def _public_address(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.by_hour("Public addresses", name, "public_address")]


def _vpc_endpoint(costs: CostCalculator, name: str, properties: Properties) -> list[CostItem]:
    if properties.get("VpcEndpointType") != "Interface":
        return []  # gateway endpoints are free
    zones, size = len(properties["SubnetIds"]), costs.prices.get("assumptions", "egress_gb")
    why = f"in {zones} zone(s)"
    return [
        costs.by_hour("VPC endpoints", name, "interface_endpoint", zones, why),
        costs.traffic("VPC endpoint traffic", name, "interface_endpoint", size),
    ]


def _load_balancer(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    units = costs.prices.get("assumptions", "load_balancer_units")
    why = f"{units:g} on average"
    return [
        costs.by_hour("Load balancer", name, "load_balancer"),
        costs.by_hour("Load balancer units", name, "load_balancer_unit", units, why),
    ]


def _service(costs: CostCalculator, name: str, properties: Properties) -> list[CostItem]:
    # The template's condition starts no task before the first image, and this many afterwards.
    count = properties["DesiredCount"]["Fn::If"][1]
    task_definition = costs.template["Resources"][properties["TaskDefinition"]["Ref"]]
    task = task_definition["Properties"]
    providers = properties["CapacityProviderStrategy"]
    spot = any("SPOT" in provider["CapacityProvider"] for provider in providers)
    key, plan = ("fargate_spot", "spot") if spot else ("fargate", "on demand")
    vcpus, memory_gb = float(task["Cpu"]) / 1024, float(task["Memory"]) / 1024
    why = f"{count} x {{:g}}, {plan}".format
    return [
        costs.by_hour("MLflow vCPUs", name, f"{key}_vcpu", count * vcpus, why(vcpus)),
        costs.by_hour("MLflow memory, GB", name, f"{key}_gb", count * memory_gb, why(memory_gb)),
    ]


def _task_definition(costs: CostCalculator, name: str, task: Properties) -> list[CostItem]:
    if any(
        resource["Type"] == "AWS::ECS::Service"
        and resource["Properties"]["TaskDefinition"] == {"Ref": name}
        for resource in costs.template["Resources"].values()
    ):
        return []  # priced with its service
    hours = costs.prices.get("assumptions", "bastion_hours")
    price = (
        costs.prices.get("hourly", "fargate_vcpu") * float(task["Cpu"])
        + costs.prices.get("hourly", "fargate_gb") * float(task["Memory"])
    ) / 1024
    return [CostItem("Bastion task", name, hours, "hours", price, "during make ui TARGET=aws")]


def _database(costs: CostCalculator, name: str, properties: Properties) -> list[CostItem]:
    instance_class = properties["DBInstanceClass"].removeprefix("db.")
    multi_az = properties["MultiAZ"]
    count, why = (2, "with a standby") if multi_az else (1, "in one zone")
    size = float(properties["AllocatedStorage"]) * count
    hourly = costs.prices.get("database_hourly", instance_class)
    monthly = costs.prices.get("monthly", "database_gb")
    return [
        CostItem(
            "Database", name, count * costs.hours, "hours", hourly, f"{instance_class}, {why}"
        ),
        CostItem("Database storage", name, size, "GB", monthly, why),
    ]


def _alarm(costs: CostCalculator, name: str, properties: Properties) -> list[CostItem]:
    count = sum("MetricStat" in metric for metric in properties.get("Metrics", [])) or 1
    return [costs.by_month("Alarm metrics", name, "alarm_metric", count, f"{count} metric(s)")]


def _dashboard(costs: CostCalculator, name: str, _: Properties) -> list[CostItem]:
    return [costs.by_month("Dashboard", name, "dashboard")]


def _cluster(costs: CostCalculator, name: str, properties: Properties) -> list[CostItem]:
    settings = {
        setting["Name"]: setting["Value"] for setting in properties.get("ClusterSettings", [])
    }
    if settings.get("containerInsights") != "enabled":
        return []
    count = costs.prices.get("assumptions", "insights_metrics")
    why = f"{count:g} metrics of a cluster with one service"
    return [costs.by_month("Container Insights metrics", name, "metric", count, why)]


PRICED: dict[str, Pricer] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _dashboard,
    "AWS::EC2::EIP": _public_address,
    "AWS::EC2::FlowLog": _flow_log,
    "AWS::EC2::NatGateway": _nat_gateway,
    "AWS::EC2::VPCEndpoint": _vpc_endpoint,
    "AWS::ECR::Repository": _repository,
    "AWS::ECS::Cluster": _cluster,
    "AWS::ECS::Service": _service,
    "AWS::ECS::TaskDefinition": _task_definition,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::KMS::Key": _key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::RDS::DBInstance": _database,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
}
FREE = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "the tasks that it starts are charged",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "the tasks that it starts are charged",
    "AWS::Budgets::Budget": "free without budget actions",
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
    "AWS::ECS::ClusterCapacityProviderAssociations": "the tasks are charged",
    "AWS::ElasticLoadBalancingV2::Listener": "the load balancer is charged",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "the load balancer is charged",
    "AWS::Events::Rule": "free for events of AWS services",
    "AWS::IAM::Role": "free",
    "AWS::KMS::Alias": "the key is charged",
    "AWS::RDS::DBParameterGroup": "free",
    "AWS::RDS::DBSubnetGroup": "free",
    "AWS::S3::BucketPolicy": "free",
    "AWS::SNS::Subscription": "the first 1,000 emails per month are free",
    "AWS::SNS::Topic": "the first million requests per month are free",
    "AWS::SNS::TopicPolicy": "free",
    "AWS::SSM::Parameter": "standard parameters are free",
}


def price_template(template: Template, prices: PriceList) -> list[CostItem]:
    """Return the monthly costs of a template's resources.

    Raises:
        InfraError: A resource type is listed neither as priced nor as free.
    """
    costs, items = CostCalculator(prices, template), []
    for name, resource in template["Resources"].items():
        resource_type = resource["Type"]
        if pricer := PRICED.get(resource_type):
            items += pricer(costs, name, resource.get("Properties", {}))
        elif resource_type not in FREE:
            raise InfraError(
                f"no price of {resource_type} ({name}); add it to scripts/aws/pricing.py"
            )
    return items


def price_workloads(stage: Stage, prices: PriceList) -> list[CostItem]:
    """Return the monthly costs of a stage's endpoint and training jobs."""
    hours = prices.get("assumptions", "hours")
    training_hours = prices.get("assumptions", "training_hours")
    count, instance = stage.endpoint_instance_count, stage.endpoint_instance_type
    training_instance = stage.training_instance_type
    return [
        CostItem(
            "Endpoint",
            stage.endpoint,
            hours * count,
            "hours",
            prices.get("instance_hourly", instance),
            f"{count} x {instance}, once deployed",
        ),
        CostItem(
            "Training jobs",
            "",
            training_hours,
            "hours",
            prices.get("instance_hourly", training_instance),
            training_instance,
        ),
    ]
