"""The MLflow stack: the MLflow server and access to it.

It holds:
- the MLflow server: an ECS service on Fargate behind an internal load balancer;
- its Postgres database in the isolated subnets;
- its secrets: the database's password, the admin's password, and Flask's secret key;
- the bastion: a task through which users forward a port to MLflow, and the viewing role.
"""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from contract.names import Image, RoleName, StackName, StackOutput
from contract.settings.stage import Stage
from infra.base.stack import BaseStack
from infra.mlflow.server import MlflowDependencies, MlflowServer
from infra.stage_stack import StageStack


class MlflowStack(StageStack):
    """The MLflow server, its database and its bastion."""

    def __init__(self, scope: Construct, stage: Stage, base: BaseStack) -> None:
        """Create the stack on top of the base stack."""
        super().__init__(scope, stage, StackName.MLFLOW)
        self.server = MlflowServer(self, "Mlflow", stage, self._get_dependencies(base))
        self.add_stack_dependency(base)  # it reads the SSM parameter of the image's digest
        server, bastion = self.server, self.server.bastion
        self.add_outputs(
            {
                StackOutput.MLFLOW_URI: server.tracking_uri,
                StackOutput.MLFLOW_CLUSTER: server.cluster.cluster_name,
                StackOutput.MLFLOW_SERVICE: server.service.service_name,
                StackOutput.MLFLOW_DATABASE: server.database.instance.instance_identifier,
                StackOutput.MLFLOW_ADMIN_SECRET: server.admin_password.secret_arn,
                StackOutput.BASTION_TASK: bastion.task_definition.task_definition_arn,
                StackOutput.BASTION_SECURITY_GROUP: bastion.security_group.security_group_id,
                StackOutput.VIEWING_ROLE: bastion.viewing_role.role_arn,
            }
        )

    def _get_dependencies(self, base: BaseStack) -> MlflowDependencies:
        return MlflowDependencies(
            vpc=base.network.vpc,
            # Imported by ARN: otherwise the CDK would add this stack's roles to the policies of the
            # base stack's key and secret, and each stack would depend on the other. The roles
            # themselves hold the permissions.
            data_key=kms.Key.from_key_arn(self, "DataKey", base.data_key.key_arn),
            training_password=secretsmanager.Secret.from_secret_complete_arn(
                self, "TrainingPassword", base.training_password.secret_arn
            ),
            artifact_bucket=base.buckets.artifacts,
            log_bucket=base.buckets.logs,
            repository=base.repositories.by_image[Image.MLFLOW],
            repository_uri=base.repositories.uri_by_image[Image.MLFLOW],
            training_sg=base.network.training_sg,
            task_role=base.roles.by_name[RoleName.MLFLOW],
        )
