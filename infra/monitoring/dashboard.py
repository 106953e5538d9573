"""One page of all that watches."""

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from contract.settings.stage import Stage
from infra.monitoring.alarms import Graphs


class Dashboard(Construct):
    """All alarms; then, a row each, the graphs of the endpoint and of the tracking host."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        alarms: Sequence[cloudwatch.IAlarm],
        rows: Sequence[Graphs],
    ) -> None:
        """Build it."""
        super().__init__(scope, name)
        cloudwatch.Dashboard(
            self,
            "Page",
            dashboard_name=stage.prefix,
            widgets=[
                [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24)],
                *(_row(row) for row in rows),
            ],
        )


def _row(graphs: Graphs) -> list[cloudwatch.IWidget]:
    return [cloudwatch.GraphWidget(title=title, left=list(left), width=8) for title, left in graphs]
