"""The capacity and auto scaling of ECS tasks."""

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


class CapacityProviders(Resource, CloudFormationModel):
    type = "AWS::ECS::ClusterCapacityProviderAssociations"

    def create_or_update(self) -> None:
        self.physical_resource_id = self.properties["Cluster"]
        self.client("ecs").put_cluster_capacity_providers(
            cluster=self.properties["Cluster"],
            capacityProviders=self.properties["CapacityProviders"],
            defaultCapacityProviderStrategy=[
                {name[0].lower() + name[1:]: value for name, value in strategy.items()}
                for strategy in self.properties["DefaultCapacityProviderStrategy"]
            ],
        )


class ScalableTarget(Resource, CloudFormationModel):
    type = "AWS::ApplicationAutoScaling::ScalableTarget"

    def create_or_update(self) -> None:
        key = {
            name: self.properties[name]
            for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")
        }
        self.client("application-autoscaling").register_scalable_target(
            **key,
            MinCapacity=int(self.properties["MinCapacity"]),
            MaxCapacity=int(self.properties["MaxCapacity"]),
        )
        self.physical_resource_id = "|".join(
            (key["ResourceId"], key["ScalableDimension"], key["ServiceNamespace"])
        )

    def delete_resource(self) -> None:
        resource, dimension, namespace = self.physical_resource_id.split("|")
        self.client("application-autoscaling").deregister_scalable_target(
            ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
        )

    def get_attribute(self, name: str) -> str:
        return self.physical_resource_id


class ScalingPolicy(Resource, CloudFormationModel):
    type = "AWS::ApplicationAutoScaling::ScalingPolicy"

    def create_or_update(self) -> None:
        resource, dimension, namespace = self.properties["ScalingTargetId"].split("|")
        response = self.client("application-autoscaling").put_scaling_policy(
            PolicyName=self.properties["PolicyName"],
            PolicyType=self.properties["PolicyType"],
            ServiceNamespace=namespace,
            ResourceId=resource,
            ScalableDimension=dimension,
            TargetTrackingScalingPolicyConfiguration=self.properties[
                "TargetTrackingScalingPolicyConfiguration"
            ],
        )
        self.physical_resource_id = response["PolicyARN"]
