"""Notifications: the SNS topic of alarms and the budget, and the report of failed training jobs."""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from contract.settings.stage import Stage
from infra.base.storage import removal_policy
from infra.monitoring.alarms import FIVE_MINUTES, create_alarm
from infra.policy import THIS_ACCOUNT, Statement, create_role, service_principal


class Notifications(Construct):
    """The encrypted topic to which alarms and the budget publish, and its subscription."""

    def __init__(self, scope: Construct, construct_id: str, stage: Stage) -> None:
        """Create the topic; the stage's email address, if it has one, is subscribed."""
        super().__init__(scope, construct_id)
        self.key = kms.Key(
            self,
            "Key",
            alias=f"{stage.prefix}/notifications",
            description=f"Notifications of {stage.prefix}",
            enable_key_rotation=True,
            removal_policy=removal_policy(stage),
        )
        self.topic = sns.Topic(
            self, "Topic", display_name=stage.prefix, master_key=self.key, enforce_ssl=True
        )
        for service in ("cloudwatch", "budgets"):
            self._grant_publish(service)
        if stage.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(stage.alarm_email))

    def _grant_publish(self, service: str) -> None:
        """Allow an AWS service to publish to the topic, for this account only."""
        principals = [iam.ServicePrincipal(f"{service}.amazonaws.com")]
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid=f"Allow{service.title()}ToPublish",
                principals=principals,
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions=THIS_ACCOUNT,
            )
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid=f"Allow{service.title()}ToEncrypt",
                principals=principals,
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],  # in a key policy: this key
                conditions=THIS_ACCOUNT,
            )
        )


class FailedTrainings(Construct):
    """Notifies of each failed training job of the stage, with SageMaker's failure reason.

    The alarm is only shown on the dashboard: an alarm can't contain the reason, and the rule has
    already sent the notification.
    """

    def __init__(
        self, scope: Construct, construct_id: str, stage: Stage, notifications: Notifications
    ) -> None:
        """Create the rule and the alarm."""
        super().__init__(scope, construct_id)
        rule = self._create_rule(stage, notifications)
        self.alarm = create_alarm(
            self,
            "Alarm",
            cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="TriggeredRules",
                statistic="Sum",
                period=FIVE_MINUTES,
                dimensions_map={"RuleName": rule.rule_name},
            ),
            0,
            "A training job failed.",
            topic=None,
        )

    def _create_rule(self, stage: Stage, notifications: Notifications) -> events.Rule:
        job = events.EventField.from_path("$.detail.TrainingJobName")
        reason = events.EventField.from_path("$.detail.FailureReason")
        role = self._create_publish_role(stage, notifications)
        return events.Rule(
            self,
            "Rule",
            description=f"Failed training jobs of {stage.prefix}",
            event_pattern=events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Training Job State Change"],
                detail={
                    "TrainingJobStatus": ["Failed"],
                    "TrainingJobName": events.Match.prefix(f"{stage.prefix}-"),
                },
            ),
            targets=[
                targets.SnsTopic(
                    notifications.topic,
                    message=events.RuleTargetInput.from_text(
                        f"Training job {job} failed: {reason}"
                    ),
                    authorize_using_role=True,
                    role=role.without_policy_updates(),
                )
            ],
        )

    def _create_publish_role(self, stage: Stage, notifications: Notifications) -> iam.Role:
        """Create the role with which EventBridge publishes to the topic.

        A topic policy and a key policy can't restrict EventBridge to one account: it supports no
        such condition there (eventbridge/latest/userguide/eb-use-resource-based.html), and the
        events of every account would be admitted.
        """
        return create_role(
            self,
            "PublishRole",
            f"Publishes failed training jobs of {stage.prefix}",
            service_principal("events"),
            [
                Statement(
                    "PublishToTopic",
                    "only the stage's topic",
                    ["sns:Publish"],
                    [notifications.topic.topic_arn],
                ),
                Statement(
                    "UseTopicKey",
                    "notifications are encrypted with the topic's key; GenerateDataKey* covers the "
                    "actions with and without plaintext",
                    ["kms:Decrypt", "kms:GenerateDataKey*"],
                    [notifications.key.key_arn],
                ),
            ],
        )
