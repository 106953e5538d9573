"""What all alarms have in common."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

MINUTE = Duration.minutes(1)
FIVE_MINUTES = Duration.minutes(5)
HIGH_UTILIZATION_PERCENT = 85
"""The utilization of CPU, memory or disk above which an alarm is raised."""
Graphs = Sequence[tuple[str, Sequence[cloudwatch.IMetric]]]
"""The graphs of a dashboard: the title and the metrics of each."""


def create_alarm(
    scope: Construct,
    construct_id: str,
    metric: cloudwatch.IMetric,
    threshold: float,
    description: str,
    topic: sns.ITopic | None,
    *,
    periods: int = 1,
    below: bool = False,
    missing_is_breaching: bool = False,
    alarm_name: str | None = None,
) -> cloudwatch.Alarm:
    """Create an alarm that notifies a topic when it is raised and when it is resolved.

    Args:
        scope: The parent construct.
        construct_id: The id of the alarm within its parent.
        metric: The metric to evaluate.
        threshold: The value that the metric must exceed.
        description: Shown in the console and in the notification.
        topic: The topic to notify; without one the alarm is only shown on the dashboard.
        periods: For how many consecutive periods the threshold must be exceeded.
        below: Raise the alarm below the threshold instead.
        missing_is_breaching: Whether missing data counts as exceeding the threshold. By default
            it does not: an endpoint that does not exist, or that is idle, raises no alarm.
        alarm_name: A fixed name; by default CloudFormation generates one.
    """
    comparison, missing = cloudwatch.ComparisonOperator, cloudwatch.TreatMissingData
    alarm = cloudwatch.Alarm(
        scope,
        construct_id,
        alarm_name=alarm_name,
        alarm_description=description,
        metric=metric,
        threshold=threshold,
        evaluation_periods=periods,
        comparison_operator=(
            comparison.LESS_THAN_THRESHOLD if below else comparison.GREATER_THAN_THRESHOLD
        ),
        treat_missing_data=missing.BREACHING if missing_is_breaching else missing.NOT_BREACHING,
    )
    if topic:
        alarm.add_alarm_action(actions.SnsAction(topic))
        alarm.add_ok_action(actions.SnsAction(topic))
    return alarm
