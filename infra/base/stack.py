"""The base stack: what stays, and what the other stacks are built on."""

from aws_cdk import Fn
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contract.names import (
    NO_IMAGE,
    REPOSITORY_OUTPUTS,
    ROLE_OUTPUTS,
    StackName,
    StackOutput,
    image_digest_parameter,
)
from contract.settings.stage import Stage
from infra.base.network import PRIVATE, Network
from infra.base.roles import Roles
from infra.base.statements import DataAccess
from infra.base.storage import Buckets, DataKey, Repositories
from infra.secret import generated_secret
from infra.stage_stack import StageStack


class BaseStack(StageStack):
    """The network, the storage, the images' repositories and the roles."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        """Build it."""
        super().__init__(scope, stage, StackName.BASE)
        self.key = DataKey(self, "Data", stage).key
        self.buckets = Buckets(self, "Storage", stage, self.key)
        self.repositories = Repositories(self, "Images", stage, self.key)
        self.network = Network(self, "Network", stage, self.buckets.logs)
        self.training_password = generated_secret(
            self, "TrainingPassword", f"MLflow user of {stage.prefix}'s trainings", self.key
        )
        self.roles = Roles(
            self,
            "Roles",
            stage,
            kept=DataAccess(self.buckets.artifacts, self.key, self.repositories.of),
            vpc=self.network.vpc,
            training_password=self.training_password.secret_arn,
        )
        ssm.StringParameter(
            self,
            "TrackingImage",
            parameter_name=image_digest_parameter(stage),
            string_value=NO_IMAGE,
            description="Digest of the tracking host's image; make deploy writes it",
        )
        self._tell()

    def _tell(self) -> None:
        subnets = self.network.vpc.select_subnets(subnet_group_name=PRIVATE).subnet_ids
        self.add_outputs(
            {
                StackOutput.ARTIFACT_BUCKET: self.buckets.artifacts.bucket_name,
                StackOutput.LOG_BUCKET: self.buckets.logs.bucket_name,
                StackOutput.DATA_KEY: self.key.key_arn,
                StackOutput.PRIVATE_SUBNETS: Fn.join(",", subnets),
                StackOutput.TRAINING_SECURITY_GROUP: self.network.training.security_group_id,
                StackOutput.MLFLOW_TRAINING_SECRET: self.training_password.secret_arn,
            }
            | {REPOSITORY_OUTPUTS[image]: uri for image, uri in self.repositories.uri.items()}
            | {ROLE_OUTPUTS[name]: role.role_arn for name, role in self.roles.of.items()}
        )
