"""Flow logs and security group rules."""

from typing import Any

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


class FlowLog(Resource, CloudFormationModel):
    """Replaces moto's own, which takes the prefix for a part of the bucket's name."""

    type = "AWS::EC2::FlowLog"

    def create_or_update(self) -> None:
        bucket, _, _ = self.properties["LogDestination"].partition("/")
        response = self.client("ec2").create_flow_logs(
            ResourceIds=[self.properties["ResourceId"]],
            ResourceType=self.properties["ResourceType"],
            TrafficType=self.properties["TrafficType"],
            LogDestinationType=self.properties["LogDestinationType"],
            LogDestination=bucket,
        )
        (self.physical_resource_id,) = response["FlowLogIds"]

    def delete_resource(self) -> None:
        self.client("ec2").delete_flow_logs(FlowLogIds=[self.physical_resource_id])


class SecurityGroupEgress(Resource, CloudFormationModel):
    type = "AWS::EC2::SecurityGroupEgress"

    def create_or_update(self) -> None:
        rule: dict[str, Any] = {
            name: self.properties[name]
            for name in ("IpProtocol", "FromPort", "ToPort")
            if name in self.properties
        }
        destination = self.properties["DestinationSecurityGroupId"]
        response = self.client("ec2").authorize_security_group_egress(
            GroupId=self.properties["GroupId"],
            IpPermissions=[{**rule, "UserIdGroupPairs": [{"GroupId": destination}]}],
        )
        self.physical_resource_id = response["SecurityGroupRules"][0]["SecurityGroupRuleId"]
