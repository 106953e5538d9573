"""The base stack: the resources that keep data, and those that the other stacks build on.

It holds:
- the data key, which encrypts the artifact bucket, images, the database and secrets;
- the artifact bucket and the log bucket;
- one ECR repository per image;
- the network (VPC, subnets, and either a NAT gateway or VPC endpoints);
- the roles, and the password of the training jobs' MLflow user;
- one SSM parameter per image, which holds the digest that was pushed last.
"""

from aws_cdk import Fn
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contract.names import (
    NO_IMAGE,
    REPOSITORY_OUTPUTS,
    ROLE_OUTPUTS,
    Image,
    StackName,
    StackOutput,
    image_digest_parameter,
)
from contract.settings.stage import Stage
from infra.base.network import Network
from infra.base.roles import Roles
from infra.base.statements import DataAccess
from infra.base.storage import Buckets, DataKey, Repositories
from infra.secret import generated_secret
from infra.stage_stack import StageStack

_RECORDED_BY = {
    Image.SERVE: "make build-and-push",
    Image.TRAIN: "make build-and-push",
    Image.MLFLOW: "make deploy",
}


class BaseStack(StageStack):
    """The network, the storage, the image repositories and the roles."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        """Create the stack."""
        super().__init__(scope, stage, StackName.BASE)
        self.data_key = DataKey(self, "DataKey", stage)
        self.buckets = Buckets(self, "Buckets", stage, self.data_key)
        self.repositories = Repositories(self, "Repositories", stage, self.data_key)
        self.network = Network(self, "Network", stage, self.buckets.logs)
        self.training_password = generated_secret(
            self,
            "TrainingPassword",
            f"Password of the MLflow user of training jobs, {stage.prefix}",
            self.data_key,
        )
        self.roles = Roles(
            self,
            "Roles",
            stage,
            data=DataAccess(self.buckets.artifacts, self.data_key, self.repositories.by_image),
            network=self.network,
            training_password=self.training_password.secret_arn,
        )
        for image in Image:
            ssm.StringParameter(
                self,
                f"{image.title()}ImageDigest",
                parameter_name=image_digest_parameter(stage, image),
                string_value=NO_IMAGE,
                description=f"Digest of the {image} image; {_RECORDED_BY[image]} writes it",
            )
        self._add_outputs()

    def _add_outputs(self) -> None:
        uris, roles = self.repositories.uri_by_image, self.roles.by_name
        self.add_outputs(
            {
                StackOutput.ARTIFACT_BUCKET: self.buckets.artifacts.bucket_name,
                StackOutput.LOG_BUCKET: self.buckets.logs.bucket_name,
                StackOutput.DATA_KEY: self.data_key.key_arn,
                StackOutput.PRIVATE_SUBNETS: Fn.join(",", self.network.private_subnet_ids),
                StackOutput.TRAINING_SECURITY_GROUP: self.network.training_sg.security_group_id,
                StackOutput.MLFLOW_TRAINING_SECRET: self.training_password.secret_arn,
            }
            | {REPOSITORY_OUTPUTS[image]: uri for image, uri in uris.items()}
            | {ROLE_OUTPUTS[name]: role.role_arn for name, role in roles.items()}
        )
