"""The alarms on the endpoint: rollback alarms, and notification alarms."""

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
from infra.monitoring.alarms import (
    FIVE_MINUTES,
    HIGH_UTILIZATION_PERCENT,
    MINUTE,
    Graphs,
    create_alarm,
)

HOUR = Duration.hours(1)
CLIENT_ERROR_COUNT = 100
"""The number of rejected requests in five minutes above which an alarm is raised."""


class EndpointAlarms(Construct):
    """The alarms on the endpoint.

    They are deployed before the endpoint, and are not raised while it is idle. A deployment of the
    endpoint names the rollback alarms and is rolled back when one of them is raised. The
    notification alarms only notify.
    """

    def __init__(
        self, scope: Construct, construct_id: str, stage: Stage, topic: sns.ITopic
    ) -> None:
        """Create the alarms."""
        super().__init__(scope, construct_id)
        self._stage = stage
        self._topic = topic
        self.rollback_alarms = self._create_rollback_alarms()
        self.notification_alarms = [
            self._create_client_error_alarm(),
            self._create_idle_alarm(),
            *self._create_utilization_alarms(),
        ]

    def metric(
        self, name: str, statistic: str, period: Duration = MINUTE, *, instances: bool = False
    ) -> cloudwatch.Metric:
        """Return a metric of the endpoint, or of its instances."""
        return cloudwatch.Metric(
            namespace="/aws/sagemaker/Endpoints" if instances else "AWS/SageMaker",
            metric_name=name,
            statistic=statistic,
            period=period,
            dimensions_map={
                "EndpointName": self._stage.endpoint,
                "VariantName": PRODUCTION_VARIANT,
            },
        )

    def utilization(self, period: Duration) -> dict[str, cloudwatch.IMetric]:
        """Return the utilization of the instances in percent, by resource."""
        metrics = {
            resource: self.metric(f"{resource}Utilization", "Maximum", period, instances=True)
            for resource in ("CPU", "Memory", "Disk")
        }
        # SageMaker adds up the utilization of all vCPUs: with two of them it goes to 200.
        cpu = cloudwatch.MathExpression(
            expression=f"sum / {self._stage.endpoint_vcpus}",
            using_metrics={"sum": metrics["CPU"]},
            label="CPUUtilization, average of all vCPUs",
            period=period,
        )
        return {**metrics, "CPU": cpu}

    def graphs(self) -> Graphs:
        """Return the endpoint's graphs for the dashboard."""
        name = self._stage.endpoint
        requests = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
        return [
            (f"{name}: requests per minute", [self.metric(metric, "Sum") for metric in requests]),
            (
                f"{name}: model latency in microseconds",
                [self.metric("ModelLatency", statistic) for statistic in ("p50", "p90", "p99")],
            ),
            (f"{name}: utilization in percent", list(self.utilization(MINUTE).values())),
        ]

    def _create_rollback_alarms(self) -> list[cloudwatch.Alarm]:
        stage = self._stage
        failed_checks = cloudwatch.Metric(
            namespace=METRIC_NAMESPACE,
            metric_name=RELEASE_CHECK_METRIC,
            statistic="Sum",
            period=MINUTE,
            dimensions_map={"EndpointName": stage.endpoint},
        )
        return [
            self._create_rollback_alarm(
                EndpointAlarm.ERRORS,
                self.metric("Invocation5XXErrors", "Sum"),
                0,
                "The endpoint returned server errors (5xx).",
            ),
            self._create_rollback_alarm(
                EndpointAlarm.LATENCY,
                self.metric("ModelLatency", "p99"),
                stage.latency_alarm_ms * 1000,  # SageMaker measures it in microseconds
                f"The p99 latency of the model exceeds {stage.latency_alarm_ms:g} ms.",
                periods=3,
            ),
            self._create_rollback_alarm(
                EndpointAlarm.RELEASE_CHECK,
                failed_checks,
                0,
                "A response differs from the prediction of the release that it names.",
            ),
        ]

    def _create_rollback_alarm(
        self,
        kind: EndpointAlarm,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        periods: int = 1,
    ) -> cloudwatch.Alarm:
        return create_alarm(
            self,
            kind.name.title().replace("_", ""),
            metric,
            threshold,
            description,
            self._topic,
            periods=periods,
            alarm_name=alarm_name(self._stage, kind),
        )

    def _create_client_error_alarm(self) -> cloudwatch.Alarm:
        return create_alarm(
            self,
            "ClientErrors",
            self.metric("Invocation4XXErrors", "Sum", FIVE_MINUTES),
            CLIENT_ERROR_COUNT,
            f"{self._stage.endpoint} rejected more than {CLIENT_ERROR_COUNT} requests (4xx) in "
            "five minutes: a client sends input that the release can't read.",
            self._topic,
        )

    def _create_idle_alarm(self) -> cloudwatch.Alarm:
        stage = self._stage
        requests = cloudwatch.MathExpression(
            # While instances report metrics, missing data is no request. Without instances there
            # is no endpoint, and the alarm must not be raised.
            expression="IF(instances >= 0, FILL(requests, 0), 1)",
            using_metrics={
                "instances": self.metric("CPUUtilization", "Average", HOUR, instances=True),
                "requests": self.metric("Invocations", "Sum", HOUR),
            },
            label="requests",
            period=HOUR,
        )
        return create_alarm(
            self,
            "Idle",
            requests,
            1,
            f"{stage.endpoint} has received no requests for {stage.idle_alarm_hours} hours.",
            self._topic,
            periods=stage.idle_alarm_hours,
            below=True,
        )

    def _create_utilization_alarms(self) -> list[cloudwatch.Alarm]:
        return [
            create_alarm(
                self,
                f"{resource}Utilization",
                metric,
                HIGH_UTILIZATION_PERCENT,
                f"An instance of {self._stage.endpoint} uses more than "
                f"{HIGH_UTILIZATION_PERCENT} % of its {resource}.",
                self._topic,
                periods=3,
            )
            for resource, metric in self.utilization(FIVE_MINUTES).items()
        ]
