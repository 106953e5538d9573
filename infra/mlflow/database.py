"""The MLflow server's Postgres database, which only the server can connect to."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from contract.settings.stage import Stage
from infra.base.network import ISOLATED
from infra.checks import acknowledge
from infra.secret import generated_secret

DATABASE_NAME = DATABASE_USER = "mlflow"
DATABASE_PORT = 5432
ENGINE = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17)


class Database(Construct):
    """MLflow's runs and users: in isolated subnets, encrypted, with a daily backup."""

    def __init__(
        self, scope: Construct, construct_id: str, stage: Stage, *, vpc: ec2.IVpc, key: kms.IKey
    ) -> None:
        """Create the database; in production it has a standby and deletion protection.

        Args:
            scope: The parent construct.
            construct_id: The id of the construct within its parent.
            stage: The database's size and its backups.
            vpc: The network.
            key: Encrypts the database's storage and its password.
        """
        super().__init__(scope, construct_id)
        self.password = generated_secret(
            self, "Password", f"Password of the database of {stage.prefix}", key
        )
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="Database of MLflow: admits the MLflow tasks only",
            allow_all_outbound=False,
        )
        self.instance = self._create_instance(stage, vpc, key)
        self._acknowledge_findings(stage)

    def _create_instance(self, stage: Stage, vpc: ec2.IVpc, key: kms.IKey) -> rds.DatabaseInstance:
        production = stage.production
        return rds.DatabaseInstance(
            self,
            "Postgres",
            # With a fixed name, a change that needs a replacement fails, instead of starting with
            # an empty database.
            instance_identifier=f"{stage.prefix}-mlflow",
            engine=ENGINE,
            instance_type=ec2.InstanceType(stage.database_instance_class),
            credentials=rds.Credentials.from_password(DATABASE_USER, self.password.secret_value),
            database_name=DATABASE_NAME,
            port=DATABASE_PORT,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name=ISOLATED),
            security_groups=[self.security_group],
            publicly_accessible=False,
            allocated_storage=stage.database_gb,
            max_allocated_storage=stage.database_gb * 5,
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            storage_encryption_key=key,
            multi_az=production,
            backup_retention=Duration.days(stage.backup_retention_days),
            copy_tags_to_snapshot=True,
            deletion_protection=production,
            # In production a snapshot remains when the database is deleted.
            removal_policy=RemovalPolicy.SNAPSHOT if production else RemovalPolicy.DESTROY,
            delete_automated_backups=not production,
            auto_minor_version_upgrade=True,
            allow_major_version_upgrade=False,
            parameter_group=rds.ParameterGroup(
                self,
                "ParameterGroup",
                engine=ENGINE,
                description=f"Postgres of {stage.prefix}: TLS only",
                parameters={"rds.force_ssl": "1"},
            ),
        )

    def _acknowledge_findings(self, stage: Stage) -> None:
        reasons = {
            "AwsSolutions-RDS11": "The port is not a secret; the security group admits the MLflow "
            "tasks only.",
        }
        if not stage.production:
            reasons["AwsSolutions-RDS3"] = (
                "Not a production stage: a standby would double the price of the database."
            )
            reasons["AwsSolutions-RDS10"] = (
                "Not a production stage: `make destroy` must be able to delete the database."
            )
        for rule, reason in reasons.items():
            acknowledge(self.instance, rule, reason)
