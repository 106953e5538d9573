"""What watches: alarms that may turn a deployment back, and others that tell."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.names import METRICS, RELEASE_CHECK_METRIC, VARIANT, EndpointAlarm, alarm_name
from contract.stage import Stage

MINUTE = Duration.minutes(1)
FIVE_MINUTES = Duration.minutes(5)
FULL_PERCENT = 85
"""Of memory, disk or processor: beyond it an instance has too little of it."""


class EndpointWatch(Construct):
    """Alarms over the endpoint: there before it is, and quiet while nobody asks it."""

    def __init__(self, scope: Construct, name: str, stage: Stage, topic: sns.ITopic) -> None:
        """Build them: three that a deployment names to be turned back by, and those that tell."""
        super().__init__(scope, name)
        self._stage = stage
        self._topic = topic
        self.turning_back = self._build_turning_back()
        self.telling = self._build_telling()

    def metric(
        self, name: str, statistic: str, period: Duration = MINUTE, *, machines: bool = False
    ) -> cloudwatch.Metric:
        """Return a metric of the endpoint; `machines` are those of its instances."""
        return cloudwatch.Metric(
            namespace="/aws/sagemaker/Endpoints" if machines else "AWS/SageMaker",
            metric_name=name,
            statistic=statistic,
            period=period,
            dimensions_map={"EndpointName": self._stage.endpoint, "VariantName": VARIANT},
        )

    def _build_turning_back(self) -> list[cloudwatch.Alarm]:
        stage = self._stage
        wrong = cloudwatch.Metric(
            namespace=METRICS,
            metric_name=RELEASE_CHECK_METRIC,
            statistic="Sum",
            period=MINUTE,
            dimensions_map={"EndpointName": stage.endpoint},
        )
        return [
            self._alarm(
                EndpointAlarm.ERRORS,
                self.metric("Invocation5XXErrors", "Sum"),
                0,
                "The endpoint has failed to answer.",
            ),
            self._alarm(
                EndpointAlarm.LATENCY,
                self.metric("ModelLatency", "p99"),
                stage.latency_ms * 1000,  # SageMaker counts microseconds
                f"The slowest hundredth of answers takes more than {stage.latency_ms:g} ms.",
                periods=3,
            ),
            self._alarm(
                EndpointAlarm.RELEASE_CHECK,
                wrong,
                0,
                "An answer isn't what the release that it names predicts.",
            ),
        ]

    def _alarm(
        self,
        kind: EndpointAlarm,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        periods: int = 1,
    ) -> cloudwatch.Alarm:
        return alarm(
            self,
            kind.name.title().replace("_", ""),
            metric,
            threshold,
            description,
            self._topic,
            periods=periods,
            alarm_name=alarm_name(self._stage, kind),
        )

    def _build_telling(self) -> list[cloudwatch.Alarm]:
        stage = self._stage
        hours = Duration.hours(1)
        silent = cloudwatch.MathExpression(
            # While instances report, no request is none; where there are none, nobody expects any.
            expression="IF(machines >= 0, FILL(requests, 0), 1)",
            using_metrics={
                "machines": self.metric("CPUUtilization", "Average", hours, machines=True),
                "requests": self.metric("Invocations", "Sum", hours),
            },
            label="requests",
            period=hours,
        )
        full = [
            alarm(
                self,
                f"{what}Full",
                self.metric(f"{what}Utilization", "Maximum", FIVE_MINUTES, machines=True),
                FULL_PERCENT,
                f"An instance of {stage.endpoint} has used {FULL_PERCENT} % of its {word}.",
                self._topic,
                periods=3,
            )
            for what, word in (("CPU", "processors"), ("Memory", "memory"), ("Disk", "disk"))
        ]
        return [
            alarm(
                self,
                "Refused",
                self.metric("Invocation4XXErrors", "Sum", FIVE_MINUTES),
                100,
                f"{stage.endpoint} has refused more than 100 requests in five minutes: a client "
                "sends what the release can't read.",
                self._topic,
            ),
            alarm(
                self,
                "Silent",
                silent,
                1,
                f"{stage.endpoint} runs, and nobody has asked it for {stage.silent_hours} hours.",
                self._topic,
                periods=stage.silent_hours,
                below=True,
            ),
            *full,
        ]


class TrackingWatch(Construct):
    """Alarms over the tracking host and its database."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        topic: sns.ITopic,
        unhealthy: cloudwatch.IMetric,
        errors: cloudwatch.IMetric,
        database_cpu: cloudwatch.IMetric,
        database_free: cloudwatch.IMetric,
    ) -> None:
        """Build them.

        Args:
            scope: The stack.
            name: Within the stack.
            stage: How large the database's disk is.
            topic: Is told.
            unhealthy: Tasks that don't answer.
            errors: Requests that failed.
            database_cpu: In percent.
            database_free: Bytes free on its disk.
        """
        super().__init__(scope, name)
        free = 0.15 * stage.database_gb * 1e9
        self.telling = [
            alarm(
                self,
                "Unhealthy",
                unhealthy,
                0,
                "A task of MLflow doesn't answer.",
                topic,
                periods=5,
            ),
            alarm(self, "Errors", errors, 5, "MLflow has failed to answer.", topic, periods=3),
            alarm(
                self,
                "DatabaseBusy",
                database_cpu,
                FULL_PERCENT,
                f"MLflow's database has used {FULL_PERCENT} % of its processor.",
                topic,
                periods=3,
            ),
            alarm(
                self,
                "DatabaseFull",
                database_free,
                free,
                "Less than 15 % of the disk that MLflow's database began with is free.",
                topic,
                below=True,
            ),
        ]


def alarm(
    scope: Construct,
    name: str,
    metric: cloudwatch.IMetric,
    threshold: float,
    description: str,
    topic: sns.ITopic,
    *,
    periods: int = 1,
    below: bool = False,
    alarm_name: str | None = None,
) -> cloudwatch.Alarm:
    """Build an alarm that tells when a metric is beyond a threshold, and when it no longer is.

    No data is no fault: an endpoint that isn't there, or that nobody asks, trips none.
    """
    comparison = cloudwatch.ComparisonOperator
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
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
    )
    made.add_alarm_action(actions.SnsAction(topic))
    made.add_ok_action(actions.SnsAction(topic))
    return made


class Dashboard(Construct):
    """One page: requests, how long they took, the machines, MLflow, and all alarms."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        stage: Stage,
        endpoint: EndpointWatch,
        alarms: Sequence[cloudwatch.IAlarm],
    ) -> None:
        """Build it."""
        super().__init__(scope, name)
        latency = [
            endpoint.metric("ModelLatency", statistic) for statistic in ("p50", "p90", "p99")
        ]
        requests = [
            endpoint.metric(metric, "Sum")
            for metric in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
        ]
        machines = [
            endpoint.metric(f"{what}Utilization", "Maximum", machines=True)
            for what in ("CPU", "Memory", "Disk")
        ]
        cloudwatch.Dashboard(
            self,
            "Page",
            dashboard_name=stage.prefix,
            widgets=[
                [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24)],
                [
                    cloudwatch.GraphWidget(title=title, left=metrics, width=8)
                    for title, metrics in (
                        (f"{stage.endpoint}: requests a minute", requests),
                        (f"{stage.endpoint}: microseconds an answer", latency),
                        (f"{stage.endpoint}: percent in use", machines),
                    )
                ],
            ],
        )
