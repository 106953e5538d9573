"""What watches an endpoint: three alarms that may turn a deployment back, and others that tell."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.names import (
    METRIC_NAMESPACE,
    PRODUCTION_VARIANT,
    RELEASE_CHECK_METRIC,
    EndpointAlarm,
    alarm_name,
)
from contract.settings.stage import Stage
from infra.monitoring.alarms import FIVE_MINUTES, FULL_PERCENT, MINUTE, Graphs, alarm


class EndpointAlarms(Construct):
    """Alarms over the endpoint: there before it is, and quiet while nobody asks it."""

    def __init__(self, scope: Construct, name: str, stage: Stage, topic: sns.ITopic) -> None:
        """Build them: three that a deployment names to be turned back by, and those that tell."""
        super().__init__(scope, name)
        self._stage = stage
        self._topic = topic
        self.rollback_alarms = self._build_rollback_alarms()
        self.notification_alarms = self._build_notification_alarms()

    def metric(
        self, name: str, statistic: str, period: Duration = MINUTE, *, machines: bool = False
    ) -> cloudwatch.Metric:
        """Return a metric of the endpoint; `machines` are those of its instances."""
        return cloudwatch.Metric(
            namespace="/aws/sagemaker/Endpoints" if machines else "AWS/SageMaker",
            metric_name=name,
            statistic=statistic,
            period=period,
            dimensions_map={
                "EndpointName": self._stage.endpoint,
                "VariantName": PRODUCTION_VARIANT,
            },
        )

    def full(self, period: Duration) -> dict[str, cloudwatch.IMetric]:
        """Return how much of its instances is in use, in percent, by what."""
        parts = {
            part: self.metric(f"{part}Utilization", "Maximum", period, machines=True)
            for part in ("CPU", "Memory", "Disk")
        }
        # SageMaker adds its processors up: two of them go to 200.
        processors = cloudwatch.MathExpression(
            expression=f"sum / {self._stage.endpoint_vcpus}",
            using_metrics={"sum": parts["CPU"]},
            label="CPUUtilization of all processors",
            period=period,
        )
        return {**parts, "CPU": processors}

    def graphs(self) -> Graphs:
        """Return the graphs of the dashboard, by their titles."""
        name = self._stage.endpoint
        requests = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
        return [
            (f"{name}: requests a minute", [self.metric(one, "Sum") for one in requests]),
            (
                f"{name}: microseconds an answer",
                [self.metric("ModelLatency", statistic) for statistic in ("p50", "p90", "p99")],
            ),
            (f"{name}: percent in use", list(self.full(MINUTE).values())),
        ]

    def _build_rollback_alarms(self) -> list[cloudwatch.Alarm]:
        stage = self._stage
        wrong = cloudwatch.Metric(
            namespace=METRIC_NAMESPACE,
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
                stage.latency_alarm_ms * 1000,  # SageMaker counts microseconds
                f"The slowest hundredth of answers takes more than {stage.latency_alarm_ms:g} ms.",
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

    def _build_notification_alarms(self) -> list[cloudwatch.Alarm]:
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
                f"{part}Full",
                metric,
                FULL_PERCENT,
                f"An instance of {stage.endpoint} has used {FULL_PERCENT} % of its {part}.",
                self._topic,
                periods=3,
            )
            for part, metric in self.full(FIVE_MINUTES).items()
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
                f"{stage.endpoint} runs, and nobody has asked it for {stage.idle_alarm_hours} hours.",
                self._topic,
                periods=stage.idle_alarm_hours,
                below=True,
            ),
            *full,
        ]
