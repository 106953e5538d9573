"""The stage's monthly budget."""

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.settings.stage import Stage


class Budget(Construct):
    """The budget for the costs with the stage's cost allocation tag.

    The tag must be activated by hand (docs/operations.md).
    """

    def __init__(
        self, scope: Construct, construct_id: str, stage: Stage, topic: sns.ITopic
    ) -> None:
        """Create the budget.

        It notifies the topic when 80 % are spent, and when the month's forecast exceeds it.
        """
        super().__init__(scope, construct_id)
        subscriber = budgets.CfnBudget.SubscriberProperty(
            subscription_type="SNS", address=topic.topic_arn
        )
        budgets.CfnBudget(
            self,
            "MonthlyBudget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=stage.prefix,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(
                    amount=stage.monthly_budget_usd, unit="USD"
                ),
                cost_filters={"TagKeyValue": [f"user:stack${stage.prefix}"]},
            ),
            notifications_with_subscribers=[
                _create_notification("ACTUAL", 80, subscriber),
                _create_notification("FORECASTED", 100, subscriber),
            ],
        )


def _create_notification(
    kind: str, percent: float, subscriber: budgets.CfnBudget.SubscriberProperty
) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
    return budgets.CfnBudget.NotificationWithSubscribersProperty(
        notification=budgets.CfnBudget.NotificationProperty(
            notification_type=kind,
            comparison_operator="GREATER_THAN",
            threshold=percent,
            threshold_type="PERCENTAGE",
        ),
        subscribers=[subscriber],
    )
