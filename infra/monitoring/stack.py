"""The monitoring stack."""

from constructs import Construct

from contract.names import (
    StackName,
    StackOutput,
)
from contract.settings.stage import Stage
from infra.mlflow.stack import MlflowStack
from infra.monitoring.budget import Budget
from infra.monitoring.dashboard import Dashboard
from infra.monitoring.endpoint_alarms import EndpointAlarms
from infra.monitoring.mlflow_alarms import MlflowAlarms, MlflowMetrics
from infra.monitoring.notifications import FailedTrainings, Notifications
from infra.stage_stack import StageStack


class MonitoringStack(StageStack):
    """Alarms, the dashboard, who is told, the budget."""

    def __init__(self, scope: Construct, stage: Stage, tracking: MlflowStack) -> None:
        """Build it over the tracking host and the endpoint, which need not be there yet."""
        super().__init__(scope, stage, StackName.MONITORING)
        notices = Notifications(self, "Notices", stage)
        topic = notices.topic
        endpoint = EndpointAlarms(self, "Endpoint", stage, topic)
        host = MlflowMetrics(
            tracking.host.balancer.metrics,
            tracking.host.targets.metrics,
            tracking.host.database.instance,
        )
        watch = MlflowAlarms(self, "Tracking", stage, topic, host)
        failed = FailedTrainings(self, "FailedTrainings", stage, notices)
        Budget(self, "Budget", stage, topic)
        alarms = [
            *endpoint.rollback_alarms,
            *endpoint.notification_alarms,
            failed.alarm,
            *watch.notification_alarms,
        ]
        Dashboard(self, "Dashboard", stage, alarms, [endpoint.graphs(), host.graphs()])
        self.add_outputs({StackOutput.NOTIFICATION_TOPIC: topic.topic_arn})
