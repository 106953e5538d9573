"""What scales the tasks of ECS."""

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


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
