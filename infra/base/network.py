"""The private network: no resource in it is reachable from the internet."""

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.settings.stage import Stage

PRIVATE, ISOLATED, PUBLIC = "Private", "Isolated", "Public"
"""The subnet groups."""
INTERFACE_ENDPOINTS = {
    "ecr.api": "tasks log in to the image registry",
    "ecr.dkr": "tasks pull their image",
    "logs": "tasks and training jobs write their logs",
    # https://repost.aws/knowledge-center/sagemaker-access-network-isolation: the processes of
    # SageMaker on a job's instances "connect to CloudWatch through the VPC".
    "monitoring": "training jobs publish their metrics",
    "secretsmanager": "tasks and training jobs read their passwords",
    "ssmmessages": "users forward a port to MLflow",
}
"""The services that the private subnets reach without the internet, and the reason for each.

Each endpoint costs money, so none is created without a use. S3 has a gateway endpoint, which is
free.
"""


class Network(Construct):
    """A VPC with private subnets for compute and isolated subnets for the database.

    If `egress` is "nat", public subnets hold the NAT gateways and nothing else. If it is
    "endpoints", there are no public subnets and no internet gateway.
    """

    def __init__(
        self, scope: Construct, construct_id: str, stage: Stage, log_bucket: s3.IBucket
    ) -> None:
        """Create the network.

        Args:
            scope: The stack.
            construct_id: The id of the construct within the stack.
            stage: Its CIDR range, zones and egress.
            log_bucket: Where flow logs are written.
        """
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=stage.prefix,
            ip_addresses=ec2.IpAddresses.cidr(stage.cidr),
            # Tokens, not a lookup: synthesis must not need an account.
            availability_zones=[Fn.select(number, Fn.get_azs()) for number in range(stage.zones)],
            nat_gateways=stage.egress_zones if stage.egress == "nat" else 0,
            subnet_configuration=_subnet_configuration(stage),
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_s3(log_bucket, "flow-logs/"),
            traffic_type=ec2.FlowLogTrafficType.ALL,
        )
        self._add_s3_endpoint()
        if stage.egress == "endpoints":
            self._add_interface_endpoints(stage)
        self.training_sg = ec2.SecurityGroup(
            self,
            "TrainingSecurityGroup",
            vpc=self.vpc,
            description="Training jobs: admit each other only, may call MLflow and AWS services",
        )
        # https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html#train-vpc-groups: a job of
        # several instances needs "inbound connections between members of the same security group".
        # The page limits neither protocols nor ports.
        self.training_sg.add_ingress_rule(
            self.training_sg, ec2.Port.all_traffic(), "Instances of the same training job"
        )

    @property
    def private_subnet_ids(self) -> list[str]:
        """The subnets in which jobs, tasks and the load balancer run."""
        return self.vpc.select_subnets(subnet_group_name=PRIVATE).subnet_ids

    def _add_s3_endpoint(self) -> None:
        endpoint = self.vpc.add_gateway_endpoint(
            "S3Endpoint", service=ec2.GatewayVpcEndpointAwsService.S3
        )
        endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="BucketsOfThisAccount",
                principals=[iam.AnyPrincipal()],
                actions=["s3:*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:ResourceAccount": self.vpc.env.account}},
            )
        )
        # AWS's own bucket, which holds the layers of every image in ECR.
        layers = f"prod-{self.vpc.env.region}-starport-layer-bucket"
        endpoint.add_to_policy(
            iam.PolicyStatement(
                sid="EcrImageLayers",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=[f"arn:{self.vpc.stack.partition}:s3:::{layers}/*"],
            )
        )

    def _add_interface_endpoints(self, stage: Stage) -> None:
        security_group = ec2.SecurityGroup(
            self,
            "EndpointSecurityGroup",
            vpc=self.vpc,
            description="VPC endpoints of AWS services: admit TLS from inside the network",
            allow_all_outbound=False,
        )
        security_group.add_ingress_rule(
            ec2.Peer.ipv4(stage.cidr), ec2.Port.tcp(443), "TLS from inside the network"
        )
        subnets = self.vpc.select_subnets(subnet_group_name=PRIVATE).subnets[: stage.egress_zones]
        for service in INTERFACE_ENDPOINTS:
            self.vpc.add_interface_endpoint(
                f"{service.title().replace('.', '')}Endpoint",
                service=ec2.InterfaceVpcEndpointAwsService(service),
                security_groups=[security_group],
                subnets=ec2.SubnetSelection(subnets=subnets),
                open=False,
            )


def _subnet_configuration(stage: Stage) -> list[ec2.SubnetConfiguration]:
    """Return the subnet groups; each subnet is a sixteenth of the VPC's range.

    That is enough for three subnet groups in up to four zones.
    """
    mask = int(stage.cidr.partition("/")[2]) + 4
    nat = stage.egress == "nat"
    types = {
        PRIVATE: ec2.SubnetType.PRIVATE_WITH_EGRESS if nat else ec2.SubnetType.PRIVATE_ISOLATED,
        ISOLATED: ec2.SubnetType.PRIVATE_ISOLATED,
    }
    if nat:
        types[PUBLIC] = ec2.SubnetType.PUBLIC
    return [
        ec2.SubnetConfiguration(
            name=name,
            subnet_type=subnet_type,
            cidr_mask=mask,
            # Instances in a public subnet do not get a public address by default.
            map_public_ip_on_launch=False if subnet_type == ec2.SubnetType.PUBLIC else None,
        )
        for name, subnet_type in types.items()
    ]
