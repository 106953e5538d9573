"""What a network has beside its subnets."""

from typing import Any

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


class FlowLog(Resource, CloudFormationModel):
    """moto has one, which takes the prefix for a part of the bucket's name."""

    type = "AWS::EC2::FlowLog"

    def make(self) -> None:
        bucket, _, _ = self.properties["LogDestination"].partition("/")
        made = self.client("ec2").create_flow_logs(
            ResourceIds=[self.properties["ResourceId"]],
            ResourceType=self.properties["ResourceType"],
            TrafficType=self.properties["TrafficType"],
            LogDestinationType=self.properties["LogDestinationType"],
            LogDestination=bucket,
        )
        (self.physical_resource_id,) = made["FlowLogIds"]

    def unmake(self) -> None:
        self.client("ec2").delete_flow_logs(FlowLogIds=[self.physical_resource_id])


class SecurityGroupEgress(Resource, CloudFormationModel):
    type = "AWS::EC2::SecurityGroupEgress"

    def make(self) -> None:
        rule: dict[str, Any] = {
            name: self.properties[name]
            for name in ("IpProtocol", "FromPort", "ToPort")
            if name in self.properties
        }
        target = self.properties["DestinationSecurityGroupId"]
        made = self.client("ec2").authorize_security_group_egress(
            GroupId=self.properties["GroupId"],
            IpPermissions=[{**rule, "UserIdGroupPairs": [{"GroupId": target}]}],
        )
        self.physical_resource_id = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
