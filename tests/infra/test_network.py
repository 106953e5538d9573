"""The network in the templates: no inbound traffic from the internet, and all traffic is logged."""

import json

from tests.infra.conftest import StageTemplates

ANY_ADDRESS = {"0.0.0.0/0", "::/0"}


def test_no_security_group_admits_any_address(templates: StageTemplates) -> None:
    rules = [
        rule
        for group in templates.properties("AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]
    rules += [
        resource["Properties"]
        for _, resource in templates.resources("AWS::EC2::SecurityGroupIngress")
    ]

    assert rules
    assert not [rule for rule in rules if rule.get("CidrIp") in ANY_ADDRESS or "CidrIpv6" in rule]


def test_egress_is_as_configured(templates: StageTemplates) -> None:
    nat_gateways = list(templates.resources("AWS::EC2::NatGateway"))
    internet_gateways = list(templates.resources("AWS::EC2::InternetGateway"))
    endpoints = templates.properties("AWS::EC2::VPCEndpoint")
    interfaces = [endpoint for endpoint in endpoints if endpoint["VpcEndpointType"] == "Interface"]
    subnets = templates.properties("AWS::EC2::Subnet")

    assert len(endpoints) - len(interfaces) == 1  # the gateway endpoint of S3
    assert not [subnet for subnet in subnets if subnet.get("MapPublicIpOnLaunch")]
    stage = templates.stage
    if stage.egress == "nat":
        assert (len(nat_gateways), len(internet_gateways)) == (stage.egress_zones, 1)
        assert not interfaces
    else:
        assert not nat_gateways
        assert not internet_gateways
        assert all(len(endpoint["SubnetIds"]) == stage.egress_zones for endpoint in interfaces)


def test_private_subnets_reach_the_services_that_tasks_and_jobs_call(
    templates: StageTemplates,
) -> None:
    names = [
        json.dumps(endpoint["ServiceName"])
        for endpoint in templates.properties("AWS::EC2::VPCEndpoint")
        if endpoint["VpcEndpointType"] == "Interface"
    ]
    services = ["ecr.api", "ecr.dkr", "logs", "monitoring", "secretsmanager", "ssmmessages"]
    expected = services if templates.stage.egress == "endpoints" else []

    assert len(names) == len(expected)
    assert all(any(f'.{service}"' in name for name in names) for service in expected)


def test_training_jobs_admit_their_own_instances_only(templates: StageTemplates) -> None:
    """train-vpc.html: "inbound connections between members of the same security group"."""
    ((logical_id, _),) = [
        (logical_id, group)
        for logical_id, group in templates.resources("AWS::EC2::SecurityGroup")
        if group["Properties"]["GroupDescription"].startswith("Training jobs")
    ]
    group = {"Fn::GetAtt": [logical_id, "GroupId"]}
    rules = [
        resource["Properties"]
        for _, resource in templates.resources("AWS::EC2::SecurityGroupIngress")
        if resource["Properties"]["GroupId"] == group
    ]

    assert "SecurityGroupIngress" not in templates.security_group("Training jobs")
    ((protocol, source),) = [(rule["IpProtocol"], rule["SourceSecurityGroupId"]) for rule in rules]
    assert (protocol, source) == ("-1", group)


def test_traffic_is_logged(templates: StageTemplates) -> None:
    (flow_log,) = templates.properties("AWS::EC2::FlowLog")
    (load_balancer,) = templates.properties("AWS::ElasticLoadBalancingV2::LoadBalancer")

    assert (flow_log["ResourceType"], flow_log["TrafficType"]) == ("VPC", "ALL")
    attributes = {
        attribute["Key"]: attribute["Value"]
        for attribute in load_balancer["LoadBalancerAttributes"]
    }
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["deletion_protection.enabled"] == str(templates.stage.production).lower()
