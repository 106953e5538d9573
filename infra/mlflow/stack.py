"""The MLflow stack."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from contract.names import (
    Image,
    RoleName,
    StackName,
    StackOutput,
)
from contract.settings.stage import Stage
from infra.base.stack import BaseStack
from infra.mlflow.server import MlflowDependencies, MlflowServer
from infra.stage_stack import StageStack


class MlflowStack(StageStack):
    """MLflow and its database."""

    def __init__(self, scope: Construct, stage: Stage, base: BaseStack) -> None:
        """Build it on the base."""
        super().__init__(scope, stage, StackName.MLFLOW)
        self.host = MlflowServer(
            self,
            "Mlflow",
            stage,
            MlflowDependencies(
                vpc=base.network.vpc,
                # By their ARNs: the CDK would write this stack's roles into the base's policies,
                # and each would need the other to be there first. Roles say what they may do.
                key=kms.Key.from_key_arn(self, "Data", base.key.key_arn),
                artifacts=base.buckets.artifacts,
                logs=base.buckets.logs,
                repository=base.repositories.of[Image.MLFLOW],
                repository_uri=base.repositories.uri[Image.MLFLOW],
                training=base.network.training,
                training_password=secretsmanager.Secret.from_secret_complete_arn(
                    self, "TrainingPassword", base.training_password.secret_arn
                ),
                role=base.roles.of[RoleName.MLFLOW],
            ),
        )
        self.add_stack_dependency(base)  # it reads the parameter that names its image
        self.add_outputs(
            {
                StackOutput.MLFLOW_URI: self.host.address,
                StackOutput.MLFLOW_CLUSTER: self.host.cluster.cluster_name,
                StackOutput.MLFLOW_SERVICE: self.host.service.service_name,
                StackOutput.MLFLOW_DATABASE: self.host.database.instance.instance_identifier,
                StackOutput.MLFLOW_ADMIN_SECRET: self.host.admin.secret_arn,
                StackOutput.BASTION_TASK: self.host.forwarding.task.task_definition_arn,
                StackOutput.BASTION_SECURITY_GROUP: self.host.forwarding.group.security_group_id,
                StackOutput.VIEWING_ROLE: self.host.forwarding.viewing.role_arn,
            }
        )
