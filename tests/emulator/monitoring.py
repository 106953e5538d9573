"""Alarms, topics and budgets."""

import json

from moto.core.common_models import CloudFormationModel

from tests.emulator.resource import Resource


class Alarm(Resource, CloudFormationModel):
    type = "AWS::CloudWatch::Alarm"

    def create_or_update(self) -> None:
        self.physical_resource_id = self.properties.get("AlarmName", self.physical_resource_id)
        parameters = {name: value for name, value in self.properties.items() if name != "Tags"}
        self.client("cloudwatch").put_metric_alarm(
            **{**parameters, "AlarmName": self.physical_resource_id}
        )

    def delete_resource(self) -> None:
        self.client("cloudwatch").delete_alarms(AlarmNames=[self.physical_resource_id])

    def get_attribute(self, name: str) -> str:
        alarms = self.client("cloudwatch").describe_alarms(AlarmNames=[self.physical_resource_id])
        return str(alarms["MetricAlarms"][0]["AlarmArn"])


class TopicPolicy(Resource, CloudFormationModel):
    type = "AWS::SNS::TopicPolicy"

    def create_or_update(self) -> None:
        for topic in self.properties["Topics"]:
            self.client("sns").set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(self.properties["PolicyDocument"]),
            )


class Subscription(Resource, CloudFormationModel):
    type = "AWS::SNS::Subscription"

    def create_or_update(self) -> None:
        subscription = self.client("sns").subscribe(
            TopicArn=self.properties["TopicArn"],
            Protocol=self.properties["Protocol"],
            Endpoint=self.properties["Endpoint"],
            ReturnSubscriptionArn=True,
        )
        self.physical_resource_id = subscription["SubscriptionArn"]

    def delete_resource(self) -> None:
        self.client("sns").unsubscribe(SubscriptionArn=self.physical_resource_id)


class Budget(Resource, CloudFormationModel):
    type = "AWS::Budgets::Budget"

    def create_or_update(self) -> None:
        budget = dict(self.properties["Budget"])
        limit = budget["BudgetLimit"]
        budget["BudgetLimit"] = {**limit, "Amount": str(limit["Amount"])}
        self.physical_resource_id = budget["BudgetName"]
        account = self.client("sts").get_caller_identity()["Account"]
        self.delete_resource()
        self.client("budgets").create_budget(
            AccountId=account,
            Budget=budget,
            NotificationsWithSubscribers=self.properties["NotificationsWithSubscribers"],
        )

    def delete_resource(self) -> None:
        client = self.client("budgets")
        account = self.client("sts").get_caller_identity()["Account"]
        budgets = client.describe_budgets(AccountId=account)["Budgets"]
        if self.physical_resource_id in {budget["BudgetName"] for budget in budgets}:
            client.delete_budget(AccountId=account, BudgetName=self.physical_resource_id)
