"""The tracking host's database: Postgres, where nothing but the host can reach it."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from contract.settings.stage import Stage
from infra.base.network import ISOLATED
from infra.checks import acknowledge
from infra.secret import generated_secret

NAME = USER = "mlflow"
PORT = 5432
VERSION = rds.PostgresEngineVersion.VER_17


class Database(Construct):
    """Runs and users of MLflow: in isolated subnets, encrypted, backed up every night."""

    def __init__(
        self, scope: Construct, name: str, stage: Stage, *, vpc: ec2.IVpc, key: kms.IKey
    ) -> None:
        """Build it; in production it has a standby in another zone, and can't be deleted.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: Its size and its backups.
            vpc: Of the network.
            key: Of its disk and of its password.
        """
        super().__init__(scope, name)
        self.generated_secret = generated_secret(
            self, "Password", f"The database of {stage.prefix}", key
        )
        self.admitted = ec2.SecurityGroup(
            self,
            "Admitted",
            vpc=vpc,
            description="Database: admits the tracking host alone",
            allow_all_outbound=False,
        )
        engine = rds.DatabaseInstanceEngine.postgres(version=VERSION)
        self.instance = rds.DatabaseInstance(
            self,
            "Postgres",
            # A name of its own: a change that CloudFormation could only make by replacing the
            # database fails then, instead of beginning with an empty one.
            instance_identifier=f"{stage.prefix}-mlflow",
            engine=engine,
            instance_type=ec2.InstanceType(stage.database_instance_class),
            credentials=rds.Credentials.from_password(USER, self.generated_secret.secret_value),
            database_name=NAME,
            port=PORT,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=ISOLATED),
            security_groups=[self.admitted],
            publicly_accessible=False,
            allocated_storage=stage.database_gb,
            max_allocated_storage=stage.database_gb * 5,
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            storage_encryption_key=key,
            multi_az=stage.production,
            backup_retention=Duration.days(stage.backup_retention_days),
            copy_tags_to_snapshot=True,
            deletion_protection=stage.production,
            # A database that goes leaves a snapshot behind in production.
            removal_policy=RemovalPolicy.SNAPSHOT if stage.production else RemovalPolicy.DESTROY,
            delete_automated_backups=not stage.production,
            auto_minor_version_upgrade=True,
            allow_major_version_upgrade=False,
            parameter_group=rds.ParameterGroup(
                self,
                "Parameters",
                engine=engine,
                description=f"Postgres of {stage.prefix}: TLS alone",
                parameters={"rds.force_ssl": "1"},
            ),
        )
        self._explain(stage)

    def _explain(self, stage: Stage) -> None:
        accepted = {
            "AwsSolutions-RDS11": "The port is no secret; a security group admits one host to it.",
        }
        if not stage.production:
            cheap = "A stage that may be thrown away:"
            accepted["AwsSolutions-RDS3"] = f"{cheap} a standby would double the database's price."
            accepted["AwsSolutions-RDS10"] = f"{cheap} `make destroy` has to be able to delete it."
        for rule, reason in accepted.items():
            acknowledge(self.instance, rule, reason)
