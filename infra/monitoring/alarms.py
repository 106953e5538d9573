"""What all alarms have in common."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

MINUTE = Duration.minutes(1)
FIVE_MINUTES = Duration.minutes(5)
FULL_PERCENT = 85
"""Of memory, disk or processor: beyond it an instance has too little of it."""
Graphs = Sequence[tuple[str, Sequence[cloudwatch.IMetric]]]
"""What a dashboard shows, by its title."""


def alarm(
    scope: Construct,
    name: str,
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
    """Build an alarm that tells when a metric is beyond a threshold, and when it no longer is.

    Else no data is no fault: an endpoint that isn't there, or that nobody asks, trips none.
    """
    comparison, missing = cloudwatch.ComparisonOperator, cloudwatch.TreatMissingData
    made = cloudwatch.Alarm(
        scope,
        name,
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
    if topic:  # else it only shows
        made.add_alarm_action(actions.SnsAction(topic))
        made.add_ok_action(actions.SnsAction(topic))
    return made
