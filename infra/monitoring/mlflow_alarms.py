"""What watches the tracking host and its database: alarms that tell."""

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.settings.stage import Stage
from infra.mlflow.image import ImageDigest
from infra.monitoring.alarms import FULL_PERCENT, MINUTE, Graphs, alarm
from infra.overrides import override


@dataclass(frozen=True)
class MlflowMetrics:
    """What there is to see of the tracking host: tasks behind its load balancer, and a database."""

    balancer: elb.IApplicationLoadBalancerMetrics
    targets: elb.IApplicationTargetGroupMetrics
    database: rds.DatabaseInstance

    @property
    def answering(self) -> cloudwatch.Metric:
        """Tasks that answer."""
        return self.targets.healthy_host_count(statistic="Maximum", period=MINUTE)

    @property
    def silent(self) -> cloudwatch.Metric:
        """Tasks that don't."""
        return self.targets.unhealthy_host_count(statistic="Maximum", period=MINUTE)

    @property
    def errors(self) -> cloudwatch.Metric:
        """Requests that failed."""
        return self.targets.http_code_target(elb.HttpCodeTarget.TARGET_5XX_COUNT)

    @property
    def unanswered(self) -> cloudwatch.Metric:
        """Requests that the load balancer has had no answer to."""
        return self.balancer.http_code_elb(elb.HttpCodeElb.ELB_5XX_COUNT)

    def graphs(self) -> Graphs:
        """Return the graphs of the dashboard, by their titles."""
        return [
            ("MLflow: requests", [self.targets.request_count(), self.errors, self.unanswered]),
            (
                "MLflow: seconds an answer",
                [
                    self.targets.target_response_time(statistic=statistic)
                    for statistic in ("p50", "p99")
                ],
            ),
            ("MLflow: tasks", [self.answering, self.silent]),
            ("Database: percent of its processor", [self.database.metric_cpu_utilization()]),
            ("Database: bytes free", [self.database.metric_free_storage_space()]),
            ("Database: connections", [self.database.metric_database_connections()]),
        ]


class MlflowAlarms(Construct):
    """Alarms over the tracking host and its database."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        topic: sns.ITopic,
        metrics: MlflowMetrics,
    ) -> None:
        """Build them."""
        super().__init__(scope, name)
        free = 0.15 * stage.database_gb * 1e9
        gone = alarm(
            self,
            "Gone",
            metrics.answering,
            1,
            "No task of MLflow answers.",
            topic,
            periods=5,
            below=True,
            missing_is_breaching=True,  # where no task runs, nobody counts them
        )
        override(gone, "ActionsEnabled", ImageDigest(self, stage).choose(True, False))
        self.notification_alarms = [
            gone,
            alarm(
                self,
                "Unhealthy",
                metrics.silent,
                0,
                "A task of MLflow doesn't answer.",
                topic,
                periods=5,
            ),
            alarm(
                self,
                "Errors",
                metrics.errors,
                5,
                "MLflow has failed to answer.",
                topic,
                periods=3,
            ),
            alarm(
                self,
                "Unanswered",
                metrics.unanswered,
                5,
                "MLflow hasn't answered its load balancer.",
                topic,
                periods=3,
            ),
            alarm(
                self,
                "DatabaseBusy",
                metrics.database.metric_cpu_utilization(),
                FULL_PERCENT,
                f"MLflow's database has used {FULL_PERCENT} % of its processor.",
                topic,
                periods=3,
            ),
            alarm(
                self,
                "DatabaseFull",
                metrics.database.metric_free_storage_space(),
                free,
                "Less than 15 % of the disk that MLflow's database began with is free.",
                topic,
                below=True,
            ),
        ]
