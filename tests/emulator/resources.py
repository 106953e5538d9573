"""The resource types that moto's CloudFormation lacks, each made by the call that AWS's API has.

A resource is named as its type's page in CloudFormation's reference says that `Ref` does.
"""

import json
from typing import Any, ClassVar

import boto3
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.elbv2.models import FakeTargetGroup
from moto.iam.access_control import PermissionResult
from moto.rds.models import DBParameterGroup
from moto.s3.models import FakeBucket

Properties = dict[str, Any]


class Resource:
    """A resource that is made and unmade by calls to the account itself.

    moto looks for direct subclasses of its model: this one is mixed in.
    """

    type: ClassVar[str]
    address: ClassVar[str] = ""

    def __init__(self, name: str, properties: Properties, region: str) -> None:
        self.physical_resource_id = name
        self.arn = ""
        self.made = False
        self.properties = properties
        self.region = region

    def make(self) -> None:
        """Make it, or make it anew with other properties."""
        raise NotImplementedError

    def unmake(self) -> None:
        """Delete it."""

    def attribute(self, name: str) -> str:
        """Return what `Fn::GetAtt` is answered."""
        raise KeyError(name)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.address,
            region_name=self.region,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    # What moto asks a model for.

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in {"Id", "Arn", "KeyId"}

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.attribute(attribute_name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Properties,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "Resource":
        made = cls(resource_name, cloudformation_json["Properties"], region_name)
        made.make()
        made.made = True
        return made

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: "Resource",
        new_resource_name: str,
        cloudformation_json: Properties,
        account_id: str,
        region_name: str,
    ) -> "Resource":
        original_resource.properties = cloudformation_json["Properties"]
        original_resource.make()
        return original_resource

    def delete(self, account_id: str, region: str) -> None:
        self.unmake()

    def is_created(self) -> bool:
        return True


class Key(Resource, CloudFormationModel):
    """moto has one, which fails where the key has tags, and forgets that it is to be rotated."""

    type = "AWS::KMS::Key"

    def make(self) -> None:
        keys = self.client("kms")
        policy = json.dumps(self.properties["KeyPolicy"])
        if not self.made:
            made = keys.create_key(
                Policy=policy,
                Description=self.properties.get("Description", ""),
                Tags=[
                    {"TagKey": tag["Key"], "TagValue": tag["Value"]}
                    for tag in self.properties.get("Tags", [])
                ],
            )["KeyMetadata"]
            self.physical_resource_id, self.arn = made["KeyId"], made["Arn"]
        keys.put_key_policy(KeyId=self.arn, PolicyName="default", Policy=policy)
        if self.properties.get("EnableKeyRotation"):
            keys.enable_key_rotation(KeyId=self.arn)

    def unmake(self) -> None:
        self.client("kms").schedule_key_deletion(KeyId=self.arn, PendingWindowInDays=7)

    def attribute(self, name: str) -> str:
        return self.arn if name == "Arn" else self.physical_resource_id


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


class Parameter(Resource, CloudFormationModel):
    """moto has one, which takes tags as a list alone."""

    type = "AWS::SSM::Parameter"

    def make(self) -> None:
        self.physical_resource_id = self.properties["Name"]
        self.client("ssm").put_parameter(
            Name=self.properties["Name"],
            Type=self.properties["Type"],
            Value=self.properties["Value"],
            Description=self.properties.get("Description", ""),
            Overwrite=self.made,
        )

    def unmake(self) -> None:
        self.client("ssm").delete_parameter(Name=self.physical_resource_id)


class BucketPolicy(Resource, CloudFormationModel):
    type = "AWS::S3::BucketPolicy"

    def make(self) -> None:
        bucket = self.properties["Bucket"]
        policy = json.dumps(self.properties["PolicyDocument"])
        self.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)

    def unmake(self) -> None:
        self.client("s3").delete_bucket_policy(Bucket=self.properties["Bucket"])


class Secret(Resource, CloudFormationModel):
    type = "AWS::SecretsManager::Secret"

    def make(self) -> None:
        secrets = self.client("secretsmanager")
        if self.made:
            return
        wish = self.properties.get("GenerateSecretString", {})
        password = secrets.get_random_password(
            PasswordLength=wish.get("PasswordLength", 32),
            ExcludePunctuation=wish.get("ExcludePunctuation", False),
        )["RandomPassword"]
        made = secrets.create_secret(
            Name=self.properties.get("Name") or self.physical_resource_id,
            Description=self.properties.get("Description", ""),
            KmsKeyId=self.properties.get("KmsKeyId", "alias/aws/secretsmanager"),
            SecretString=password,
        )
        self.physical_resource_id = made["ARN"]

    def unmake(self) -> None:
        self.client("secretsmanager").delete_secret(
            SecretId=self.physical_resource_id, ForceDeleteWithoutRecovery=True
        )

    def attribute(self, name: str) -> str:
        return self.physical_resource_id


class Alarm(Resource, CloudFormationModel):
    type = "AWS::CloudWatch::Alarm"

    def make(self) -> None:
        self.physical_resource_id = self.properties.get("AlarmName", self.physical_resource_id)
        wish = {name: value for name, value in self.properties.items() if name != "Tags"}
        self.client("cloudwatch").put_metric_alarm(
            **{**wish, "AlarmName": self.physical_resource_id}
        )

    def unmake(self) -> None:
        self.client("cloudwatch").delete_alarms(AlarmNames=[self.physical_resource_id])

    def attribute(self, name: str) -> str:
        found = self.client("cloudwatch").describe_alarms(AlarmNames=[self.physical_resource_id])
        return str(found["MetricAlarms"][0]["AlarmArn"])


class TopicPolicy(Resource, CloudFormationModel):
    type = "AWS::SNS::TopicPolicy"

    def make(self) -> None:
        for topic in self.properties["Topics"]:
            self.client("sns").set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(self.properties["PolicyDocument"]),
            )


class Subscription(Resource, CloudFormationModel):
    type = "AWS::SNS::Subscription"

    def make(self) -> None:
        made = self.client("sns").subscribe(
            TopicArn=self.properties["TopicArn"],
            Protocol=self.properties["Protocol"],
            Endpoint=self.properties["Endpoint"],
            ReturnSubscriptionArn=True,
        )
        self.physical_resource_id = made["SubscriptionArn"]

    def unmake(self) -> None:
        self.client("sns").unsubscribe(SubscriptionArn=self.physical_resource_id)


class Budget(Resource, CloudFormationModel):
    type = "AWS::Budgets::Budget"

    def make(self) -> None:
        budget = dict(self.properties["Budget"])
        limit = budget["BudgetLimit"]
        budget["BudgetLimit"] = {**limit, "Amount": str(limit["Amount"])}
        self.physical_resource_id = budget["BudgetName"]
        account = self.client("sts").get_caller_identity()["Account"]
        self.unmake()
        self.client("budgets").create_budget(
            AccountId=account,
            Budget=budget,
            NotificationsWithSubscribers=self.properties["NotificationsWithSubscribers"],
        )

    def unmake(self) -> None:
        budgets = self.client("budgets")
        account = self.client("sts").get_caller_identity()["Account"]
        known = {
            one["BudgetName"] for one in budgets.describe_budgets(AccountId=account)["Budgets"]
        }
        if self.physical_resource_id in known:
            budgets.delete_budget(AccountId=account, BudgetName=self.physical_resource_id)


class ScalableTarget(Resource, CloudFormationModel):
    type = "AWS::ApplicationAutoScaling::ScalableTarget"

    def make(self) -> None:
        wish = {
            name: self.properties[name]
            for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")
        }
        self.client("application-autoscaling").register_scalable_target(
            **wish,
            MinCapacity=int(self.properties["MinCapacity"]),
            MaxCapacity=int(self.properties["MaxCapacity"]),
        )
        self.physical_resource_id = "|".join(
            (wish["ResourceId"], wish["ScalableDimension"], wish["ServiceNamespace"])
        )

    def unmake(self) -> None:
        resource, dimension, namespace = self.physical_resource_id.split("|")
        self.client("application-autoscaling").deregister_scalable_target(
            ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
        )

    def attribute(self, name: str) -> str:
        return self.physical_resource_id


class ScalingPolicy(Resource, CloudFormationModel):
    type = "AWS::ApplicationAutoScaling::ScalingPolicy"

    def make(self) -> None:
        resource, dimension, namespace = self.properties["ScalingTargetId"].split("|")
        made = self.client("application-autoscaling").put_scaling_policy(
            PolicyName=self.properties["PolicyName"],
            PolicyType=self.properties["PolicyType"],
            ServiceNamespace=namespace,
            ResourceId=resource,
            ScalableDimension=dimension,
            TargetTrackingScalingPolicyConfiguration=self.properties[
                "TargetTrackingScalingPolicyConfiguration"
            ],
        )
        self.physical_resource_id = made["PolicyARN"]


class CapacityProviders(Resource, CloudFormationModel):
    type = "AWS::ECS::ClusterCapacityProviderAssociations"

    def make(self) -> None:
        self.physical_resource_id = self.properties["Cluster"]
        self.client("ecs").put_cluster_capacity_providers(
            cluster=self.properties["Cluster"],
            capacityProviders=self.properties["CapacityProviders"],
            defaultCapacityProviderStrategy=[
                {name[0].lower() + name[1:]: value for name, value in one.items()}
                for one in self.properties["DefaultCapacityProviderStrategy"]
            ],
        )


class SecurityGroupEgress(Resource, CloudFormationModel):
    type = "AWS::EC2::SecurityGroupEgress"

    def make(self) -> None:
        rule = {
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


def add_resources(address: str) -> None:
    """Make the types known to moto's CloudFormation, and let it speak to the account.

    A bucket's policy is kept and told, and not enforced: moto takes a denial whatever condition it
    has, so that one of requests without TLS would be one of all.
    """
    Resource.address = address
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL
    DBParameterGroup.physical_resource_id = property(lambda group: group.name)
    FakeTargetGroup.get_cfn_attribute = lambda group, _name: group.arn.rpartition(":")[2]
    for cache in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cache.cache_clear()
