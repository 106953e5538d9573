"""The monitoring stack: alarms and notifications.

It holds:
- the SNS topic of all notifications, its key, and a subscription by email;
- the alarms on the endpoint: rollback alarms and notification alarms;
- the alarms on the MLflow server and its database;
- the rule that reports failed training jobs;
- the monthly budget;
- the CloudWatch dashboard.
"""

from constructs import Construct

from contract.names import StackName, StackOutput
from contract.settings.stage import Stage
from infra.mlflow.stack import MlflowStack
from infra.monitoring.budget import Budget
from infra.monitoring.dashboard import Dashboard
from infra.monitoring.endpoint_alarms import EndpointAlarms
from infra.monitoring.mlflow_alarms import MlflowAlarms, MlflowMetrics
from infra.monitoring.notifications import FailedTrainings, Notifications
from infra.stage_stack import StageStack


class MonitoringStack(StageStack):
    """Alarms, the dashboard, notifications and the budget."""

    def __init__(self, scope: Construct, stage: Stage, mlflow: MlflowStack) -> None:
        """Create the stack; the endpoint that it monitors need not exist yet."""
        super().__init__(scope, stage, StackName.MONITORING)
        server = mlflow.server
        notifications = Notifications(self, "Notifications", stage)
        topic = notifications.topic
        endpoint_alarms = EndpointAlarms(self, "EndpointAlarms", stage, topic)
        mlflow_metrics = MlflowMetrics(
            server.load_balancer.metrics, server.target_group.metrics, server.database.instance
        )
        mlflow_alarms = MlflowAlarms(self, "MlflowAlarms", stage, topic, mlflow_metrics)
        failed_trainings = FailedTrainings(self, "FailedTrainings", stage, notifications)
        Budget(self, "Budget", stage, topic)
        Dashboard(
            self,
            "Dashboard",
            stage,
            alarms=[
                *endpoint_alarms.rollback_alarms,
                *endpoint_alarms.notification_alarms,
                failed_trainings.alarm,
                *mlflow_alarms.notification_alarms,
            ],
            rows=[endpoint_alarms.graphs(), mlflow_metrics.graphs()],
        )
        self.add_outputs({StackOutput.NOTIFICATION_TOPIC: topic.topic_arn})
