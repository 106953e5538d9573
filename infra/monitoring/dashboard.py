"""The CloudWatch dashboard of a stage."""

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from contract.settings.stage import Stage
from infra.monitoring.alarms import Graphs


class Dashboard(Construct):
    """All alarms first, then one row of graphs for the endpoint and one for the MLflow server."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: Stage,
        *,
        alarms: Sequence[cloudwatch.IAlarm],
        rows: Sequence[Graphs],
    ) -> None:
        """Create the dashboard."""
        super().__init__(scope, construct_id)
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=stage.prefix,
            widgets=[
                [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24)],
                *(_create_row(graphs) for graphs in rows),
            ],
        )


def _create_row(graphs: Graphs) -> list[cloudwatch.IWidget]:
    return [
        cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)
        for title, metrics in graphs
    ]
