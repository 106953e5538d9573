"""Who is told, and of failed trainings, which no alarm can tell the reason of."""

from aws_cdk import Aws
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
from infra.monitoring.alarms import FIVE_MINUTES, alarm
from infra.policy import Statement, role


class Notifications(Construct):
    """The topic that alarms and the budget tell, encrypted, with whoever reads it."""

    def __init__(self, scope: Construct, name: str, stage: Stage) -> None:
        """Build it, with the stage's address as a reader if there is one."""
        super().__init__(scope, name)
        self.key = kms.Key(
            self,
            "Key",
            alias=f"{stage.prefix}/notices",
            description=f"Notices of {stage.prefix}",
            enable_key_rotation=True,
            removal_policy=removal_policy(stage),
        )
        self.topic = sns.Topic(
            self, "Topic", display_name=stage.prefix, master_key=self.key, enforce_ssl=True
        )
        for service in ("cloudwatch", "budgets"):
            self._let_tell(service)
        if stage.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(stage.alarm_email))

    def _let_tell(self, service: str) -> None:
        """Let a service of AWS write to the topic, for this account alone."""
        told = iam.PolicyStatement(
            sid=f"Let{service.title()}Tell",
            principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[self.topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
        encrypted = iam.PolicyStatement(
            sid=f"Let{service.title()}Encrypt",
            principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
            actions=["kms:Decrypt", "kms:GenerateDataKey*"],
            resources=["*"],  # in a key's own policy: this key
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
        self.topic.add_to_resource_policy(told)
        self.key.add_to_resource_policy(encrypted)


class FailedTrainings(Construct):
    """Tells of a training job of the stage that failed, and why, in SageMaker's words.

    Its alarm only shows that there was one: the mail has come already.
    """

    def __init__(self, scope: Construct, name: str, stage: Stage, notices: Notifications) -> None:
        """Build the rule."""
        super().__init__(scope, name)
        job = events.EventField.from_path("$.detail.TrainingJobName")
        reason = events.EventField.from_path("$.detail.FailureReason")
        rule = events.Rule(
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
                    notices.topic,
                    message=events.RuleTargetInput.from_text(f"Training {job} failed: {reason}"),
                    authorize_using_role=True,
                    role=self._telling(stage, notices).without_policy_updates(),
                )
            ],
        )
        self.alarm = alarm(
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
            "A training job has failed.",
            topic=None,
        )

    def _telling(self, stage: Stage, notices: Notifications) -> iam.Role:
        """By a role: a topic's and a key's policy can't say for which account EventBridge tells.

        It knows no such condition there (eventbridge/latest/userguide/eb-use-resource-based.html),
        so that the events of every account would be let in.
        """
        return role(
            self,
            "Telling",
            f"Tells of failed trainings of {stage.prefix}",
            iam.ServicePrincipal(
                "events.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
            [
                Statement("Tell", "the one topic", ["sns:Publish"], [notices.topic.topic_arn]),
                Statement(
                    "Encrypt",
                    "what is told is encrypted with its key; GenerateDataKey* is with and without "
                    "plaintext",
                    ["kms:Decrypt", "kms:GenerateDataKey*"],
                    [notices.key.key_arn],
                ),
            ],
        )
