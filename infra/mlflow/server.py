"""The MLflow server: an ECS service on Fargate, behind an internal load balancer."""

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
from infra.base.storage import create_log_group
from infra.checks import acknowledge
from infra.fargate import PLATFORM, execution_role
from infra.mlflow.bastion import Bastion
from infra.mlflow.database import DATABASE_NAME, DATABASE_PORT, DATABASE_USER, Database
from infra.mlflow.image import MlflowImage
from infra.policy import Statement
from infra.secret import generated_secret

MLFLOW_PORT = 5000
TARGET_CPU_PERCENT = 60
"""The average CPU utilization of the tasks that auto scaling aims at."""


@dataclass(frozen=True)
class MlflowDependencies:
    """The resources of the base stack that the MLflow server uses."""

    vpc: ec2.IVpc
    data_key: kms.IKey
    artifact_bucket: s3.IBucket
    log_bucket: s3.IBucket
    repository: ecr.IRepository
    repository_uri: str
    training_sg: ec2.ISecurityGroup
    """The security group of training jobs, which may call the server."""
    training_password: secretsmanager.ISecret
    task_role: iam.Role
    """The role of the server's tasks: reads and writes artifacts."""


class MlflowServer(Construct):
    """MLflow with user authentication, its database, and a bastion to reach it through."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: Stage,
        dependencies: MlflowDependencies,
    ) -> None:
        """Create the server."""
        super().__init__(scope, construct_id)
        self._stage, self._dependencies = stage, dependencies
        self._image = MlflowImage(self, stage, dependencies.repository_uri)
        key = dependencies.data_key
        self.admin_password = generated_secret(
            self, "AdminPassword", f"Password of MLflow's admin, {stage.prefix}", key
        )
        self._flask_secret_key = generated_secret(
            self, "FlaskSecretKey", f"Secret key of MLflow's web forms, {stage.prefix}", key
        )
        self.database = Database(self, "Database", stage, vpc=dependencies.vpc, key=key)
        self.cluster = self._create_cluster()
        self._log_group = create_log_group(self, "LogGroup", stage)
        self._load_balancer_sg = self._create_security_group(
            "LoadBalancerSecurityGroup",
            "Load balancer of MLflow: admits training jobs and the bastion only",
            allow_all_outbound=False,
        )
        self.load_balancer = self._create_load_balancer()
        self._service_sg = self._create_security_group(
            "ServiceSecurityGroup", "Tasks of MLflow: admit their load balancer only"
        )
        self.service = self._create_service(self._create_task_definition())
        self.target_group = self._create_target_group(self._create_listener())
        self._add_scaling()
        self.bastion = Bastion(
            self,
            "Bastion",
            stage,
            cluster=self.cluster,
            image=self._image.container,
            execution_role=self._create_execution_role("BastionExecutionRole"),
            log_group=self._log_group,
        )
        self._add_ingress_rules()

    @property
    def tracking_uri(self) -> str:
        """The tracking URI for training jobs."""
        if self._stage.certificate_arn:
            return f"https://{self._stage.mlflow_domain}"
        return f"http://{self.load_balancer.load_balancer_dns_name}"

    def _create_cluster(self) -> ecs.Cluster:
        production = self._stage.production
        insights = ecs.ContainerInsights
        cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=self._dependencies.vpc,
            enable_fargate_capacity_providers=True,
            container_insights_v2=insights.ENABLED if production else insights.DISABLED,
        )
        if not production:
            acknowledge(
                cluster,
                "AwsSolutions-ECS4",
                "Container Insights costs more than the task of such a stage; the task's log and "
                "the load balancer's metrics are available.",
            )
        return cluster

    def _create_security_group(
        self, construct_id: str, description: str, *, allow_all_outbound: bool = True
    ) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            construct_id,
            vpc=self._dependencies.vpc,
            description=description,
            allow_all_outbound=allow_all_outbound,
        )

    def _create_load_balancer(self) -> elb.ApplicationLoadBalancer:
        stage = self._stage
        load_balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=self._dependencies.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=PRIVATE),
            # Lower case, because its DNS name contains it: clients send host names in lower case,
            # and MLflow compares them case-sensitively.
            load_balancer_name=f"{stage.prefix}-mlflow",
            internet_facing=False,
            security_group=self._load_balancer_sg,
            deletion_protection=stage.production,
            drop_invalid_header_fields=True,
            idle_timeout=Duration.seconds(LOAD_BALANCER_IDLE_SECONDS),
        )
        load_balancer.log_access_logs(self._dependencies.log_bucket, "load-balancer")
        return load_balancer

    def _create_listener(self) -> elb.ApplicationListener:
        if not self._stage.certificate_arn:
            return self.load_balancer.add_listener(
                "HttpListener", port=80, open=False, protocol=elb.ApplicationProtocol.HTTP
            )
        certificate = acm.Certificate.from_certificate_arn(
            self, "Certificate", self._stage.certificate_arn
        )
        return self.load_balancer.add_listener(
            "HttpsListener",
            port=443,
            open=False,
            certificates=[certificate],
            ssl_policy=elb.SslPolicy.TLS13_RES,
        )

    def _create_task_definition(self) -> ecs.FargateTaskDefinition:
        """Create the task: the server, and a container that migrates the database before it."""
        stage = self._stage
        execution_role = self._create_execution_role("ExecutionRole", *self._read_secrets())
        task_definition = ecs.FargateTaskDefinition(
            self,
            "TaskDefinition",
            family=f"{stage.prefix}-mlflow",
            cpu=stage.mlflow_cpu,
            memory_limit_mib=stage.mlflow_memory_mb,
            runtime_platform=PLATFORM,
            # Without this the CDK would add permissions of its own, which are wider.
            execution_role=execution_role.without_policy_updates(),
            task_role=self._dependencies.task_role.without_policy_updates(),
            volumes=[ecs.Volume(name="tmp")],
        )
        migrate = self._add_container(task_definition, "migrate", essential=False)
        serve = self._add_container(task_definition, "serve", essential=True)
        serve.add_port_mappings(ecs.PortMapping(container_port=MLFLOW_PORT))
        serve.add_container_dependencies(
            ecs.ContainerDependency(
                container=migrate, condition=ecs.ContainerDependencyCondition.SUCCESS
            )
        )
        acknowledge(
            task_definition,
            "AwsSolutions-ECS2",
            "The environment variables hold no secrets: names, a port and a prefix. Passwords come "
            "from Secrets Manager.",
        )
        return task_definition

    def _add_container(
        self, task_definition: ecs.FargateTaskDefinition, command: str, *, essential: bool
    ) -> ecs.ContainerDefinition:
        container = task_definition.add_container(
            command,
            image=self._image.container,
            command=[command],
            essential=essential,
            readonly_root_filesystem=True,
            user="mlflow",
            environment=self._environment(),
            secrets={
                name: ecs.Secret.from_secrets_manager(secret)
                for name, secret in self._secrets().items()
            },
            logging=ecs.LogDriver.aws_logs(log_group=self._log_group, stream_prefix=command),
            stop_timeout=Duration.seconds(30),
        )
        container.add_mount_points(
            ecs.MountPoint(container_path="/tmp", source_volume="tmp", read_only=False)  # noqa: S108
        )
        return container

    def _environment(self) -> dict[str, str]:
        runs = BucketPrefix.RUNS.rstrip("/")
        artifacts = self._dependencies.artifact_bucket.s3_url_for_object(runs)
        return {
            "TRACKING_SERVER_DATABASE_HOST": self.database.instance.db_instance_endpoint_address,
            "TRACKING_SERVER_DATABASE_PORT": str(DATABASE_PORT),
            "TRACKING_SERVER_DATABASE_NAME": DATABASE_NAME,
            "TRACKING_SERVER_DATABASE_USER": DATABASE_USER,
            "TRACKING_SERVER_ARTIFACTS_DESTINATION": artifacts,
            "TRACKING_SERVER_ALLOWED_HOSTS": ",".join(self._allowed_hosts()),
            "TRACKING_SERVER_PORT": str(MLFLOW_PORT),
            "AWS_DEFAULT_REGION": Aws.REGION,
        }

    def _allowed_hosts(self) -> list[str]:
        """Return the hosts that requests may name: the server's own, and a forwarded port's."""
        if domain := self._stage.mlflow_domain:
            return [domain, f"{domain}:*", "127.0.0.1:*", "localhost:*"]
        return [self.load_balancer.load_balancer_dns_name, "127.0.0.1:*", "localhost:*"]

    def _secrets(self) -> dict[str, secretsmanager.ISecret]:
        return {
            "TRACKING_SERVER_DATABASE_PASSWORD": self.database.password,
            "TRACKING_SERVER_ADMIN_PASSWORD": self.admin_password,
            "TRACKING_SERVER_TRAINING_PASSWORD": self._dependencies.training_password,
            "TRACKING_SERVER_FLASK_SECRET": self._flask_secret_key,
        }

    def _read_secrets(self) -> list[Statement]:
        return [
            Statement(
                "ReadSecrets",
                "the task receives them as secrets, never in its definition",
                ["secretsmanager:GetSecretValue"],
                [secret.secret_arn for secret in self._secrets().values()],
            ),
            Statement(
                "DecryptSecrets",
                "the secrets are encrypted with the data key",
                ["kms:Decrypt"],
                [self._dependencies.data_key.key_arn],
            ),
        ]

    def _create_execution_role(self, construct_id: str, *more: Statement) -> iam.Role:
        return execution_role(
            self,
            construct_id,
            self._stage,
            *more,
            repository=self._dependencies.repository,
            log_group=self._log_group,
        )

    def _create_service(self, task_definition: ecs.FargateTaskDefinition) -> ecs.FargateService:
        stage = self._stage
        service = ecs.FargateService(
            self,
            "Service",
            cluster=self.cluster,
            task_definition=task_definition,
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
        # Otherwise the capacity providers would be removed from the cluster while the service still
        # needs them.
        service.node.add_dependency(self.cluster)
        return service

    def _create_target_group(self, listener: elb.ApplicationListener) -> elb.ApplicationTargetGroup:
        return listener.add_targets(
            "Mlflow",
            port=MLFLOW_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[self.service],
            deregistration_delay=Duration.seconds(30),
            # MLflow checks neither the password nor the host name of requests to this path.
            health_check=elb.HealthCheck(
                path="/health",
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
            ),
        )

    def _add_scaling(self) -> None:
        stage = self._stage
        scaling = self.service.auto_scale_task_count(
            min_capacity=stage.mlflow_tasks, max_capacity=stage.mlflow_max_tasks
        )
        scaling.scale_on_cpu_utilization(
            "CpuScaling", target_utilization_percent=TARGET_CPU_PERCENT
        )
        self._image.set_desired_count(self.service, scaling, stage)

    def _add_ingress_rules(self) -> None:
        port = ec2.Port.tcp(443 if self._stage.certificate_arn else 80)
        for client, description in (
            (self._dependencies.training_sg, "Training jobs"),
            (self.bastion.security_group, "Bastion"),
        ):
            self._load_balancer_sg.add_ingress_rule(
                ec2.Peer.security_group_id(client.security_group_id), port, description
            )
        self.database.security_group.add_ingress_rule(
            ec2.Peer.security_group_id(self._service_sg.security_group_id),
            ec2.Port.tcp(DATABASE_PORT),
            "Tasks of MLflow",
        )
