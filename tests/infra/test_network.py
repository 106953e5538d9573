"""What a template shows of the network: nobody comes in, and all that passes is logged."""

from tests.infra.conftest import Synthesised

ANYWHERE = {"0.0.0.0/0", "::/0"}


def test_nobody_is_admitted_from_anywhere(stack: Synthesised) -> None:
    rules = [
        rule
        for group in stack.properties("AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]
    rules += [
        resource["Properties"] for _, resource in stack.of_type("AWS::EC2::SecurityGroupIngress")
    ]

    assert rules
    assert not [rule for rule in rules if rule.get("CidrIp") in ANYWHERE or "CidrIpv6" in rule]


def test_egress_is_what_the_setting_says(stack: Synthesised) -> None:
    gateways = list(stack.of_type("AWS::EC2::NatGateway"))
    internet = list(stack.of_type("AWS::EC2::InternetGateway"))
    endpoints = stack.properties("AWS::EC2::VPCEndpoint")
    interfaces = [one for one in endpoints if one["VpcEndpointType"] == "Interface"]
    public = [one for one in stack.properties("AWS::EC2::Subnet") if one.get("MapPublicIpOnLaunch")]

    assert len(endpoints) - len(interfaces) == 1  # S3's
    assert not public
    if stack.stage.egress == "nat":
        assert (len(gateways), len(internet)) == (stack.stage.egress_zones, 1)
        assert not interfaces
    else:
        assert not gateways
        assert not internet
        assert all(len(one["SubnetIds"]) == stack.stage.egress_zones for one in interfaces)


def test_traffic_is_logged(stack: Synthesised) -> None:
    (flow,) = stack.properties("AWS::EC2::FlowLog")
    (balancer,) = stack.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")

    assert (flow["ResourceType"], flow["TrafficType"]) == ("VPC", "ALL")
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["deletion_protection.enabled"] == str(stack.stage.production).lower()
