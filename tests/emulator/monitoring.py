"""Alarms, topics and budgets."""

import json

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


class Alarm(Resource, CloudFormationModel):
    type = "AWS::CloudWatch::Alarm"

    def make(self) -> None:
        self.physical_resource_id = self.properties.get("AlarmName", self.physical_resource_id)
        wish = {name: value for name, value in self.properties.items() if name != "Tags"}
        self.client("cloudwatch").put_metric_alarm(
            **{**wish, "AlarmName": self.physical_resource_id}
        )

    def unmake(self) -> None:
        self.client("cloudwatch").delete_alarms(AlarmNames=[self.physical_resource_id])

    def attribute(self, name: str) -> str:
        found = self.client("cloudwatch").describe_alarms(AlarmNames=[self.physical_resource_id])
        return str(found["MetricAlarms"][0]["AlarmArn"])


class TopicPolicy(Resource, CloudFormationModel):
    type = "AWS::SNS::TopicPolicy"

    def make(self) -> None:
        for topic in self.properties["Topics"]:
            self.client("sns").set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(self.properties["PolicyDocument"]),
            )


class Subscription(Resource, CloudFormationModel):
    type = "AWS::SNS::Subscription"

    def make(self) -> None:
        made = self.client("sns").subscribe(
            TopicArn=self.properties["TopicArn"],
            Protocol=self.properties["Protocol"],
            Endpoint=self.properties["Endpoint"],
            ReturnSubscriptionArn=True,
        )
        self.physical_resource_id = made["SubscriptionArn"]

    def unmake(self) -> None:
        self.client("sns").unsubscribe(SubscriptionArn=self.physical_resource_id)


class Budget(Resource, CloudFormationModel):
    type = "AWS::Budgets::Budget"

    def make(self) -> None:
        budget = dict(self.properties["Budget"])
        limit = budget["BudgetLimit"]
        budget["BudgetLimit"] = {**limit, "Amount": str(limit["Amount"])}
        self.physical_resource_id = budget["BudgetName"]
        account = self.client("sts").get_caller_identity()["Account"]
        self.unmake()
        self.client("budgets").create_budget(
            AccountId=account,
            Budget=budget,
            NotificationsWithSubscribers=self.properties["NotificationsWithSubscribers"],
        )

    def unmake(self) -> None:
        budgets = self.client("budgets")
        account = self.client("sts").get_caller_identity()["Account"]
        known = {
            one["BudgetName"] for one in budgets.describe_budgets(AccountId=account)["Budgets"]
        }
        if self.physical_resource_id in known:
            budgets.delete_budget(AccountId=account, BudgetName=self.physical_resource_id)
