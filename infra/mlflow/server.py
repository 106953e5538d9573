"""The tracking host: MLflow on Fargate, behind a load balancer that only this network can reach."""

from dataclasses import dataclass

from aws_cdk import Aws, Duration
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from contract.names import LOAD_BALANCER_IDLE_SECONDS, BucketPrefix
from contract.settings.stage import Stage
from infra.base.network import PRIVATE
from infra.base.storage import log_group
from infra.checks import acknowledge
from infra.fargate import PLATFORM, execution_role
from infra.mlflow.bastion import Bastion
from infra.mlflow.database import NAME, PORT, USER, Database
from infra.mlflow.image import MlflowImage
from infra.policy import Statement
from infra.secret import generated_secret

MLFLOW_PORT = 5000
BUSY_PERCENT = 60
"""Of a task's processor: beyond it another one is started."""


@dataclass(frozen=True)
class MlflowDependencies:
    """What the tracking host is built on."""

    vpc: ec2.IVpc
    key: kms.IKey
    artifacts: s3.IBucket
    logs: s3.IBucket
    repository: ecr.IRepository
    repository_uri: str
    training: ec2.ISecurityGroup
    """What training jobs are in: it may call the host."""
    training_password: secretsmanager.ISecret
    role: iam.Role
    """What the server may do: keep artifacts."""


class MlflowServer(Construct):
    """MLflow with users and a database of its own, and a task to reach it through."""

    def __init__(
        self, scope: Construct, name: str, stage: Stage, parts: MlflowDependencies
    ) -> None:
        """Build it."""
        super().__init__(scope, name)
        self._stage, self._parts = stage, parts
        self._image = MlflowImage(self, stage, parts.repository_uri)
        self.admin = generated_secret(self, "Admin", f"MLflow's admin in {stage.prefix}", parts.key)
        self._flask = generated_secret(
            self, "Flask", f"MLflow's forms in {stage.prefix}", parts.key
        )
        self.database = Database(self, "Database", stage, vpc=parts.vpc, key=parts.key)
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=parts.vpc,
            enable_fargate_capacity_providers=True,
            container_insights_v2=(
                ecs.ContainerInsights.ENABLED
                if stage.production
                else ecs.ContainerInsights.DISABLED
            ),
        )
        self._log = log_group(self, "Log", stage)
        self.balancer, self._listener = self._build_balancer()
        self.service = self._build_service(self._build_task())
        self.forwarding = Bastion(
            self,
            "Forwarding",
            stage,
            cluster=self.cluster,
            image=self._image.container,
            starting=self._starting_role("StartingForward"),
            log=self._log,
        )
        self._connect()
        self._explain()

    @property
    def address(self) -> str:
        """Where trainings find it, as a URI."""
        if self._stage.certificate_arn:
            return f"https://{self._stage.mlflow_domain}"
        return f"http://{self.balancer.load_balancer_dns_name}"

    def _build_balancer(self) -> tuple[elb.ApplicationLoadBalancer, elb.ApplicationListener]:
        stage, parts = self._stage, self._parts
        self._load_balancer_sg = ec2.SecurityGroup(
            self,
            "Front",
            vpc=parts.vpc,
            description="Load balancer of MLflow: admits trainings and forwarded ports",
            allow_all_outbound=False,
        )
        balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=parts.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            # Small letters: its address is made of it, clients write addresses in small letters,
            # and MLflow compares names to the letter.
            load_balancer_name=f"{stage.prefix}-mlflow",
            internet_facing=False,
            security_group=self._load_balancer_sg,
            deletion_protection=stage.production,
            drop_invalid_header_fields=True,
            idle_timeout=Duration.seconds(LOAD_BALANCER_IDLE_SECONDS),
        )
        balancer.log_access_logs(parts.logs, "balancer")
        if stage.certificate_arn:
            certificate = acm.Certificate.from_certificate_arn(
                self, "Certificate", stage.certificate_arn
            )
            listener = balancer.add_listener(
                "Tls",
                port=443,
                open=False,
                certificates=[certificate],
                ssl_policy=elb.SslPolicy.TLS13_RES,
            )
        else:
            listener = balancer.add_listener(
                "Http", port=80, open=False, protocol=elb.ApplicationProtocol.HTTP
            )
        return balancer, listener

    def _build_task(self) -> ecs.FargateTaskDefinition:
        """The server, and before it what brings the database to its schema."""
        stage = self._stage
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            family=f"{stage.prefix}-mlflow",
            cpu=stage.mlflow_cpu,
            memory_limit_mib=stage.mlflow_memory_mb,
            runtime_platform=PLATFORM,
            # Else the CDK would add rights of its own, wider than these.
            execution_role=self._starting_role(
                "Starting", *self._read_secrets()
            ).without_policy_updates(),
            task_role=self._parts.role.without_policy_updates(),
            volumes=[ecs.Volume(name="tmp")],
        )
        migrate = self._add_container(task, "migrate", essential=False)
        serve = self._add_container(task, "serve", essential=True)
        serve.add_port_mappings(ecs.PortMapping(container_port=MLFLOW_PORT))
        serve.add_container_dependencies(
            ecs.ContainerDependency(
                container=migrate, condition=ecs.ContainerDependencyCondition.SUCCESS
            )
        )
        return task

    def _add_container(
        self, task: ecs.FargateTaskDefinition, command: str, *, essential: bool
    ) -> ecs.ContainerDefinition:
        container = task.add_container(
            command,
            image=self._image.container,
            command=[command],
            essential=essential,
            readonly_root_filesystem=True,
            user="mlflow",
            environment={
                "TRACKING_SERVER_DATABASE_HOST": self.database.instance.db_instance_endpoint_address,
                "TRACKING_SERVER_DATABASE_PORT": str(PORT),
                "TRACKING_SERVER_DATABASE_NAME": NAME,
                "TRACKING_SERVER_DATABASE_USER": USER,
                "TRACKING_SERVER_ARTIFACTS": self._parts.artifacts.s3_url_for_object(
                    BucketPrefix.RUNS.rstrip("/")
                ),
                "TRACKING_SERVER_ALLOWED_HOSTS": ",".join(self._hosts()),
                "TRACKING_SERVER_PORT": str(MLFLOW_PORT),
                "AWS_DEFAULT_REGION": Aws.REGION,
            },
            secrets={
                name: ecs.Secret.from_secrets_manager(secret)
                for name, secret in self._secrets().items()
            },
            logging=ecs.LogDriver.aws_logs(log_group=self._log, stream_prefix=command),
            stop_timeout=Duration.seconds(30),
        )
        container.add_mount_points(
            ecs.MountPoint(container_path="/tmp", source_volume="tmp", read_only=False)  # noqa: S108
        )
        return container

    def _hosts(self) -> list[str]:
        """The names under which it may be asked: its own, and a port that a person forwards."""
        if domain := self._stage.mlflow_domain:
            return [domain, f"{domain}:*", "127.0.0.1:*", "localhost:*"]
        return [self.balancer.load_balancer_dns_name, "127.0.0.1:*", "localhost:*"]

    def _secrets(self) -> dict[str, secretsmanager.ISecret]:
        return {
            "TRACKING_SERVER_DATABASE_PASSWORD": self.database.generated_secret,
            "TRACKING_SERVER_ADMIN_PASSWORD": self.admin,
            "TRACKING_SERVER_TRAINING_PASSWORD": self._parts.training_password,
            "TRACKING_SERVER_FLASK_SECRET": self._flask,
        }

    def _read_secrets(self) -> list[Statement]:
        return [
            Statement(
                "ReadPasswords",
                "the task gets them as secrets, never in its definition",
                ["secretsmanager:GetSecretValue"],
                [one.secret_arn for one in self._secrets().values()],
            ),
            Statement(
                "DecryptPasswords",
                "they are encrypted with it",
                ["kms:Decrypt"],
                [self._parts.key.key_arn],
            ),
        ]

    def _starting_role(self, name: str, *more: Statement) -> iam.Role:
        return execution_role(
            self, name, self._stage, *more, repository=self._parts.repository, log=self._log
        )

    def _build_service(self, task: ecs.FargateTaskDefinition) -> ecs.FargateService:
        stage = self._stage
        self._service_sg = ec2.SecurityGroup(
            self,
            "Inside",
            vpc=self._parts.vpc,
            description="Tasks of MLflow: admit their load balancer alone",
        )
        service = ecs.FargateService(
            self,
            "Service",
            cluster=self.cluster,
            task_definition=task,
            desired_count=stage.mlflow_tasks,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            security_groups=[self._service_sg],
            assign_public_ip=False,
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(
                    capacity_provider="FARGATE_SPOT" if stage.mlflow_spot else "FARGATE",
                    weight=1,
                )
            ],
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            min_healthy_percent=100,
            max_healthy_percent=200,
            health_check_grace_period=Duration.seconds(120),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
        )
        # Or they would be taken from the cluster while the service still needs them.
        service.node.add_dependency(self.cluster)
        self.targets = self._listener.add_targets(
            "Mlflow",
            port=MLFLOW_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[service],
            deregistration_delay=Duration.seconds(30),
            # MLflow asks neither for a password nor for its name there.
            health_check=elb.HealthCheck(
                path="/health",
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
            ),
        )
        scaling = service.auto_scale_task_count(
            min_capacity=stage.mlflow_tasks, max_capacity=stage.mlflow_max_tasks
        )
        scaling.scale_on_cpu_utilization("Busy", target_utilization_percent=BUSY_PERCENT)
        self._image.start_at_zero(service, scaling, stage)
        return service

    def _connect(self) -> None:
        port = ec2.Port.tcp(443 if self._stage.certificate_arn else 80)
        for caller, what in (
            (self._parts.training, "Training jobs"),
            (self.forwarding.group, "Forwarded ports"),
        ):
            self._load_balancer_sg.add_ingress_rule(
                ec2.Peer.security_group_id(caller.security_group_id), port, what
            )
        self.database.admitted.add_ingress_rule(
            ec2.Peer.security_group_id(self._service_sg.security_group_id),
            ec2.Port.tcp(PORT),
            "Tasks of MLflow",
        )

    def _explain(self) -> None:
        acknowledge(
            self.service.task_definition,
            "AwsSolutions-ECS2",
            "What is in the environment is no secret: names, a port and a prefix. "
            "Passwords come from Secrets Manager.",
        )
        if not self._stage.production:
            acknowledge(
                self.cluster,
                "AwsSolutions-ECS4",
                "Container Insights costs more than such a stage's task; its log and the "
                "load balancer's metrics are there.",
            )
