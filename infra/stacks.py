"""The stacks of a stage: what stays, the tracking host, and what watches both."""

from aws_cdk import CfnOutput, Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contract.names import (
    NO_IMAGE,
    REPOSITORIES,
    ROLES,
    Image,
    Output,
    Part,
    Role,
    image_parameter,
    stack_name,
)
from contract.stage import Stage
from infra.budget import Budget
from infra.common_rights import Kept
from infra.dashboard import Dashboard
from infra.endpoint_watch import EndpointWatch
from infra.network import PRIVATE, Network
from infra.notices import FailedTrainings, Notices
from infra.passwords import password
from infra.roles import Roles
from infra.storage import Buckets, DataKey, Repositories
from infra.tracking import Parts, TrackingHost
from infra.tracking_watch import TrackingMetrics, TrackingWatch


class _StageStack(Stack):
    """A stack of a stage, whose outputs have the names that contract/ gives them."""

    def __init__(self, scope: Construct, stage: Stage, part: Part) -> None:
        super().__init__(
            scope,
            stack_name(stage, part),
            env={"account": stage.account or None, "region": stage.region},
            description=f"{stage.project}, {stage.name}: {part}",
            termination_protection=stage.production,
        )

    @property
    def availability_zones(self) -> list[str]:
        """The first zones, whichever they are: the CDK would ask the account for their names."""
        return [Fn.select(number, Fn.get_azs()) for number in range(4)]

    def tell(self, outputs: dict[Output, str]) -> None:
        """Make values known to the commands, which ask the deployed stack for them."""
        for name, value in outputs.items():
            CfnOutput(self, name, value=value).override_logical_id(name)


class BaseStack(_StageStack):
    """The network, the storage, the images' repositories and the roles."""

    def __init__(self, scope: Construct, stage: Stage) -> None:
        """Build it."""
        super().__init__(scope, stage, Part.BASE)
        self.key = DataKey(self, "Data", stage).key
        self.buckets = Buckets(self, "Storage", stage, self.key)
        self.repositories = Repositories(self, "Images", stage, self.key)
        self.network = Network(self, "Network", stage, self.buckets.logs)
        self.training_password = password(
            self, "TrainingPassword", f"MLflow user of {stage.prefix}'s trainings", self.key
        )
        self.roles = Roles(
            self,
            "Roles",
            stage,
            kept=Kept(self.buckets.artifacts, self.key, self.repositories.of),
            vpc=self.network.vpc,
            training_password=self.training_password.secret_arn,
        )
        ssm.StringParameter(
            self,
            "TrackingImage",
            parameter_name=image_parameter(stage),
            string_value=NO_IMAGE,
            description="Digest of the tracking host's image; make deploy writes it",
        )
        self._tell()

    def _tell(self) -> None:
        subnets = self.network.vpc.select_subnets(subnet_group_name=PRIVATE).subnet_ids
        self.tell(
            {
                Output.ARTIFACT_BUCKET: self.buckets.artifacts.bucket_name,
                Output.LOG_BUCKET: self.buckets.logs.bucket_name,
                Output.DATA_KEY: self.key.key_arn,
                Output.PRIVATE_SUBNETS: Fn.join(",", subnets),
                Output.TRAINING_SECURITY_GROUP: self.network.training.security_group_id,
                Output.TRAINING_SECRET: self.training_password.secret_arn,
            }
            | {REPOSITORIES[image]: uri for image, uri in self.repositories.uri.items()}
            | {ROLES[name]: role.role_arn for name, role in self.roles.of.items()}
        )


class TrackingStack(_StageStack):
    """MLflow and its database."""

    def __init__(self, scope: Construct, stage: Stage, base: BaseStack) -> None:
        """Build it on the base."""
        super().__init__(scope, stage, Part.TRACKING)
        self.host = TrackingHost(
            self,
            "Mlflow",
            stage,
            Parts(
                vpc=base.network.vpc,
                # By their ARNs: the CDK would write this stack's roles into the base's policies,
                # and each would need the other to be there first. Roles say what they may do.
                key=kms.Key.from_key_arn(self, "Data", base.key.key_arn),
                artifacts=base.buckets.artifacts,
                logs=base.buckets.logs,
                repository=base.repositories.of[Image.TRACKING],
                repository_uri=base.repositories.uri[Image.TRACKING],
                training=base.network.training,
                training_password=secretsmanager.Secret.from_secret_complete_arn(
                    self, "TrainingPassword", base.training_password.secret_arn
                ),
                role=base.roles.of[Role.TRACKING],
            ),
        )
        self.add_stack_dependency(base)  # it reads the parameter that names its image
        self.tell(
            {
                Output.TRACKING_ADDRESS: self.host.address,
                Output.TRACKING_CLUSTER: self.host.cluster.cluster_name,
                Output.TRACKING_SERVICE: self.host.service.service_name,
                Output.TRACKING_DATABASE: self.host.database.instance.instance_identifier,
                Output.ADMIN_SECRET: self.host.admin.secret_arn,
                Output.FORWARD_TASK: self.host.forwarding.task.task_definition_arn,
                Output.FORWARD_SECURITY_GROUP: self.host.forwarding.group.security_group_id,
                Output.VIEWING_ROLE: self.host.forwarding.viewing.role_arn,
            }
        )


class MonitoringStack(_StageStack):
    """Alarms, the dashboard, who is told, the budget."""

    def __init__(self, scope: Construct, stage: Stage, tracking: TrackingStack) -> None:
        """Build it over the tracking host and the endpoint, which need not be there yet."""
        super().__init__(scope, stage, Part.MONITORING)
        notices = Notices(self, "Notices", stage)
        topic = notices.topic
        endpoint = EndpointWatch(self, "Endpoint", stage, topic)
        host = TrackingMetrics(
            tracking.host.balancer.metrics,
            tracking.host.targets.metrics,
            tracking.host.database.instance,
        )
        watch = TrackingWatch(self, "Tracking", stage, topic, host)
        failed = FailedTrainings(self, "FailedTrainings", stage, notices)
        Budget(self, "Budget", stage, topic)
        alarms = [*endpoint.turning_back, *endpoint.telling, failed.alarm, *watch.telling]
        Dashboard(self, "Dashboard", stage, alarms, [endpoint.graphs(), host.graphs()])
        self.tell({Output.NOTICES_TOPIC: topic.topic_arn})
