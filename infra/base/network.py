"""The private network: nothing in it has an address in the internet."""

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.settings.stage import Stage

ENDPOINTS = {
    "ecr.api": "a task asks for its image",
    "ecr.dkr": "and pulls it",
    "logs": "a task writes its log",
    "secretsmanager": "a task and a training read their passwords",
    "ssmmessages": "a person forwards a port to MLflow",
}
"""The services that the private subnets reach without the internet, and what for. Each has a price:
none is here just in case. S3 has a gateway, which is free.
"""


class Network(Construct):
    """A VPC of private subnets for what computes and of isolated ones for the database.

    Where `egress` is "nat", public subnets hold the NAT gateways and nothing else; where it is
    "endpoints", there are none, and no internet gateway.
    """

    def __init__(self, scope: Construct, name: str, stage: Stage, logs: s3.IBucket) -> None:
        """Build it.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: Its range, zones and egress.
            logs: Where flow logs go.
        """
        super().__init__(scope, name)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            vpc_name=stage.prefix,
            ip_addresses=ec2.IpAddresses.cidr(stage.cidr),
            # Not looked up: a synthesis needs no account.
            availability_zones=[Fn.select(number, Fn.get_azs()) for number in range(stage.zones)],
            nat_gateways=stage.egress_zones if stage.egress == "nat" else 0,
            subnet_configuration=_subnets(stage),
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_s3(logs, "network/"),
            traffic_type=ec2.FlowLogTrafficType.ALL,
        )
        self._reach_s3()
        if stage.egress == "endpoints":
            self._reach_services(stage)
        self.training = ec2.SecurityGroup(
            self, "Training", vpc=self.vpc, description="Training jobs: whom they may call"
        )

    def _reach_s3(self) -> None:
        gateway = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        # The second one holds the layers of every image in ECR, and isn't ours.
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="OurBuckets",
                principals=[iam.AnyPrincipal()],
                actions=["s3:*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:ResourceAccount": self.vpc.env.account}},
            )
        )
        gateway.add_to_policy(
            iam.PolicyStatement(
                sid="ImageLayers",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=[
                    f"arn:{self.vpc.stack.partition}:s3:::prod-{self.vpc.env.region}-starport-layer-bucket/*"
                ],
            )
        )

    def _reach_services(self, stage: Stage) -> None:
        allowed = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Endpoints of AWS services: TLS from inside the network",
            allow_all_outbound=False,
        )
        allowed.add_ingress_rule(ec2.Peer.ipv4(stage.cidr), ec2.Port.tcp(443), "TLS from inside")
        subnets = self.vpc.select_subnets(subnet_group_name=PRIVATE).subnets[: stage.egress_zones]
        for service in ENDPOINTS:
            self.vpc.add_interface_endpoint(
                service.replace(".", "-"),
                service=ec2.InterfaceVpcEndpointAwsService(service),
                security_groups=[allowed],
                subnets=ec2.SubnetSelection(subnets=subnets),
                open=False,
            )


PRIVATE, ISOLATED, PUBLIC = "private", "isolated", "public"


def _subnets(stage: Stage) -> list[ec2.SubnetConfiguration]:
    """A sixteenth of the range each: three kinds of subnets in up to four zones."""
    mask = int(stage.cidr.partition("/")[2]) + 4
    nat = stage.egress == "nat"
    kinds = {
        PRIVATE: ec2.SubnetType.PRIVATE_WITH_EGRESS if nat else ec2.SubnetType.PRIVATE_ISOLATED,
        ISOLATED: ec2.SubnetType.PRIVATE_ISOLATED,
    }
    if nat:
        kinds[PUBLIC] = ec2.SubnetType.PUBLIC
    return [
        ec2.SubnetConfiguration(
            name=name,
            subnet_type=kind,
            cidr_mask=mask,
            # Nothing that starts there gets an address in the internet by itself.
            map_public_ip_on_launch=False if kind == ec2.SubnetType.PUBLIC else None,
        )
        for name, kind in kinds.items()
    ]
