"""The monitoring stack in the templates: alarms, notifications, the dashboard, budget and tags."""

import json
from typing import Any

from contract.names import PRODUCTION_VARIANT, EndpointAlarm, StackName, alarm_name
from tests.infra.conftest import StageTemplates


def test_rollback_alarms_have_fixed_names_and_ignore_an_idle_endpoint(
    templates: StageTemplates,
) -> None:
    alarms = {
        alarm["AlarmName"]: alarm
        for alarm in templates.properties("AWS::CloudWatch::Alarm")
        if "AlarmName" in alarm
    }

    assert alarms.keys() == {alarm_name(templates.stage, alarm) for alarm in EndpointAlarm}
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"


def _metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metric of an alarm, or those of its expression."""
    if "Metrics" not in alarm:
        return [alarm]
    return [metric["MetricStat"]["Metric"] for metric in alarm["Metrics"] if "MetricStat" in metric]


def test_endpoint_alarms_use_the_production_variant(templates: StageTemplates) -> None:
    dimensions = [
        {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
        for alarm in templates.properties("AWS::CloudWatch::Alarm")
        for metric in _metrics(alarm)
        if metric["Namespace"] in {"AWS/SageMaker", "/aws/sagemaker/Endpoints"}
    ]

    expected = {"EndpointName": templates.stage.endpoint, "VariantName": PRODUCTION_VARIANT}
    assert len(dimensions) == 8  # the idle alarm has two metrics, the six others have one each
    assert all(dimension == expected for dimension in dimensions)


def test_alarms_notify_when_raised_and_when_resolved(templates: StageTemplates) -> None:
    alarms = {
        alarm["AlarmDescription"]: alarm for alarm in templates.properties("AWS::CloudWatch::Alarm")
    }
    # The rule below sends a notification of its own, with the reason.
    failed_training = alarms.pop("A training job failed.")
    assert "AlarmActions" not in failed_training
    # Without healthy tasks there is no data, which raises the alarm, once there is an image to run.
    no_healthy_task = alarms.pop("MLflow has no healthy task.")
    assert no_healthy_task["TreatMissingData"] == "breaching"
    assert no_healthy_task["ActionsEnabled"]["Fn::If"][1:] == [True, False]

    assert len(alarms) == 13
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"
    for alarm in (*alarms.values(), no_healthy_task):
        assert alarm["AlarmActions"] == alarm["OKActions"]
        assert alarm["AlarmActions"]


def test_failed_training_jobs_are_reported(templates: StageTemplates) -> None:
    (rule,) = templates.properties("AWS::Events::Rule")

    assert rule["EventPattern"]["detail"]["TrainingJobStatus"] == ["Failed"]
    assert rule["Targets"][0]["Arn"]


def test_dashboard_shows_every_alarm(templates: StageTemplates) -> None:
    (dashboard,) = templates.properties("AWS::CloudWatch::Dashboard")

    body = json.dumps(dashboard["DashboardBody"])
    for logical_id, _ in templates.resources("AWS::CloudWatch::Alarm"):
        assert logical_id in body


def test_topic_is_encrypted_and_only_this_account_may_publish(templates: StageTemplates) -> None:
    (topic,) = templates.properties("AWS::SNS::Topic")
    (policy,) = templates.properties("AWS::SNS::TopicPolicy")
    this_account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}

    assert "KmsMasterKeyId" in topic
    allowed = [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    services = {statement["Principal"]["Service"] for statement in allowed}
    assert services == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    assert all(statement["Condition"] == this_account for statement in allowed)


def test_eventbridge_publishes_with_a_role(templates: StageTemplates) -> None:
    # A topic policy can't restrict EventBridge to one account.
    (rule,) = templates.properties("AWS::Events::Rule")
    assert "FailedTrainingsPublishRole" in json.dumps(rule["Targets"][0]["RoleArn"])
    (publish, encrypt) = [
        statement
        for logical_id, statement in templates.statements()
        if logical_id.startswith("FailedTrainingsPublishRole")
    ]
    assert publish["Action"] == "sns:Publish"
    assert set(encrypt["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}


def test_cpu_alarm_averages_all_vcpus(templates: StageTemplates) -> None:
    (alarm,) = [
        alarm
        for alarm in templates.properties("AWS::CloudWatch::Alarm")
        if alarm["AlarmDescription"].startswith("An instance")
        and alarm["AlarmDescription"].endswith("% of its CPU.")
    ]

    (expression,) = [metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric]
    assert expression == "sum / 2"  # the instances of both stages have two vCPUs


def test_budget_notifies_of_spending_and_of_the_forecast(templates: StageTemplates) -> None:
    (budget,) = templates.properties("AWS::Budgets::Budget")

    assert budget["Budget"]["BudgetLimit"] == {
        "Amount": templates.stage.monthly_budget_usd,
        "Unit": "USD",
    }
    types = {
        notification["Notification"]["NotificationType"]
        for notification in budget["NotificationsWithSubscribers"]
    }
    assert types == {"ACTUAL", "FORECASTED"}


def test_templates_contain_no_lambda_function(templates: StageTemplates) -> None:
    types = {
        resource["Type"]
        for name in StackName
        for resource in templates.template(name)["Resources"].values()
    }
    assert not [
        resource_type
        for resource_type in types
        if resource_type.startswith(("Custom::", "AWS::Lambda"))
    ]
    assert "AWS::CloudFormation::CustomResource" not in types


def test_resources_are_tagged_with_their_stage(templates: StageTemplates) -> None:
    taggable = ("AWS::S3::Bucket", "AWS::RDS::DBInstance", "AWS::ECS::Service", "AWS::KMS::Key")
    for resource_type in taggable:
        for properties in templates.properties(resource_type):
            tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
            assert tags["stack"] == templates.stage.prefix
            assert tags["stage"] == templates.stage.name
