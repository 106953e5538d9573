"""A bill that surprises nobody: the month's budget, told when the forecast is beyond it."""

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from contract.settings.stage import Stage


class Budget(Construct):
    """What the stage may cost a month, by its cost tag (which is to be activated by hand)."""

    def __init__(self, scope: Construct, name: str, stage: Stage, topic: sns.ITopic) -> None:
        """Build it: told at 80 % spent, and when the month's forecast is beyond all of it."""
        super().__init__(scope, name)
        told = budgets.CfnBudget.SubscriberProperty(
            subscription_type="SNS", address=topic.topic_arn
        )
        budgets.CfnBudget(
            self,
            "Month",
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
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[told],
                )
                for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
