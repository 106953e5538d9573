"""The alarms on the MLflow server and its database."""

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.settings.stage import Stage
from infra.mlflow.image import ImageDigest
from infra.monitoring.alarms import HIGH_UTILIZATION_PERCENT, MINUTE, Graphs, create_alarm
from infra.overrides import override_property

FREE_STORAGE_FRACTION = 0.15
"""The fraction of the database's initial storage below which an alarm is raised."""


@dataclass(frozen=True)
class MlflowMetrics:
    """The metrics of the MLflow server: its load balancer, its target group and its database."""

    load_balancer: elb.IApplicationLoadBalancerMetrics
    target_group: elb.IApplicationTargetGroupMetrics
    database: rds.DatabaseInstance

    @property
    def healthy_tasks(self) -> cloudwatch.Metric:
        """The number of tasks that pass the health check."""
        return self.target_group.healthy_host_count(statistic="Maximum", period=MINUTE)

    @property
    def unhealthy_tasks(self) -> cloudwatch.Metric:
        """The number of tasks that fail the health check."""
        return self.target_group.unhealthy_host_count(statistic="Maximum", period=MINUTE)

    @property
    def server_errors(self) -> cloudwatch.Metric:
        """The number of 5xx responses of MLflow."""
        return self.target_group.http_code_target(elb.HttpCodeTarget.TARGET_5XX_COUNT)

    @property
    def load_balancer_errors(self) -> cloudwatch.Metric:
        """The number of 5xx responses of the load balancer, for lack of MLflow's response."""
        return self.load_balancer.http_code_elb(elb.HttpCodeElb.ELB_5XX_COUNT)

    def graphs(self) -> Graphs:
        """Return MLflow's graphs for the dashboard."""
        requests = self.target_group.request_count()
        response_times = [
            self.target_group.target_response_time(statistic=statistic)
            for statistic in ("p50", "p99")
        ]
        return [
            ("MLflow: requests", [requests, self.server_errors, self.load_balancer_errors]),
            ("MLflow: response time in seconds", response_times),
            ("MLflow: tasks", [self.healthy_tasks, self.unhealthy_tasks]),
            ("Database: CPU utilization in percent", [self.database.metric_cpu_utilization()]),
            ("Database: free storage in bytes", [self.database.metric_free_storage_space()]),
            ("Database: connections", [self.database.metric_database_connections()]),
        ]


class MlflowAlarms(Construct):
    """The alarms on the MLflow server and its database; all of them only notify."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: Stage,
        topic: sns.ITopic,
        metrics: MlflowMetrics,
    ) -> None:
        """Create the alarms."""
        super().__init__(scope, construct_id)
        self.notification_alarms = [
            self._create_no_healthy_tasks_alarm(stage, topic, metrics),
            *self._create_server_alarms(topic, metrics),
            *self._create_database_alarms(stage, topic, metrics.database),
        ]

    def _create_no_healthy_tasks_alarm(
        self, stage: Stage, topic: sns.ITopic, metrics: MlflowMetrics
    ) -> cloudwatch.Alarm:
        alarm = create_alarm(
            self,
            "NoHealthyTasks",
            metrics.healthy_tasks,
            1,
            "MLflow has no healthy task.",
            topic,
            periods=5,
            below=True,
            missing_is_breaching=True,  # without tasks the load balancer reports no metric
        )
        # Before the first image is pushed, no task is expected.
        enabled = ImageDigest(self, stage).if_pushed(True, False)
        override_property(alarm, "ActionsEnabled", enabled)
        return alarm

    def _create_server_alarms(
        self, topic: sns.ITopic, metrics: MlflowMetrics
    ) -> list[cloudwatch.Alarm]:
        return [
            create_alarm(
                self,
                "UnhealthyTasks",
                metrics.unhealthy_tasks,
                0,
                "A task of MLflow fails its health check.",
                topic,
                periods=5,
            ),
            create_alarm(
                self,
                "ServerErrors",
                metrics.server_errors,
                5,
                "MLflow returned server errors (5xx).",
                topic,
                periods=3,
            ),
            create_alarm(
                self,
                "LoadBalancerErrors",
                metrics.load_balancer_errors,
                5,
                "The load balancer received no valid response from MLflow (5xx).",
                topic,
                periods=3,
            ),
        ]

    def _create_database_alarms(
        self, stage: Stage, topic: sns.ITopic, database: rds.DatabaseInstance
    ) -> list[cloudwatch.Alarm]:
        return [
            create_alarm(
                self,
                "DatabaseCpuUtilization",
                database.metric_cpu_utilization(),
                HIGH_UTILIZATION_PERCENT,
                f"MLflow's database uses more than {HIGH_UTILIZATION_PERCENT} % of its CPU.",
                topic,
                periods=3,
            ),
            create_alarm(
                self,
                "DatabaseFreeStorage",
                database.metric_free_storage_space(),
                FREE_STORAGE_FRACTION * stage.database_gb * 1e9,
                "The free storage of MLflow's database is less than "
                f"{FREE_STORAGE_FRACTION:.0%} of its initial storage.",
                topic,
                below=True,
            ),
        ]
