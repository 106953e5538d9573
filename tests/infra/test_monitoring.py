"""What a template shows of what watches, who is told, and what tells what belongs together."""

import json

from contract.names import EndpointAlarm, alarm_name
from tests.infra.conftest import Synthesised


def test_three_alarms_may_turn_a_deployment_back_and_an_idle_endpoint_trips_none(
    stack: Synthesised,
) -> None:
    alarms = {
        one["AlarmName"]: one
        for one in stack.properties("AWS::CloudWatch::Alarm")
        if "AlarmName" in one
    }

    assert alarms.keys() == {alarm_name(stack.stage, one) for one in EndpointAlarm}
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"


def test_what_goes_wrong_is_told(stack: Synthesised) -> None:
    alarms = {one["AlarmDescription"]: one for one in stack.properties("AWS::CloudWatch::Alarm")}
    # Another mail tells of it, with its reason.
    failed = alarms.pop("A training job has failed.")
    assert "AlarmActions" not in failed
    (rule,) = stack.properties("AWS::Events::Rule")
    assert rule["EventPattern"]["detail"]["TrainingJobStatus"] == ["Failed"]
    assert rule["Targets"][0]["Arn"]
    # No task that answers is no data, and trips it, once there is an image to run.
    gone = alarms.pop("No task of MLflow answers.")
    assert gone["TreatMissingData"] == "breaching"
    assert gone["ActionsEnabled"]["Fn::If"][1:] == [True, False]

    assert len(alarms) == 13
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"
    for alarm in (*alarms.values(), gone):
        assert alarm["AlarmActions"] == alarm["OKActions"]
        assert alarm["AlarmActions"]


def test_one_dashboard_shows_every_alarm(stack: Synthesised) -> None:
    (board,) = stack.properties("AWS::CloudWatch::Dashboard")

    text = json.dumps(board["DashboardBody"])
    for name, _ in stack.of_type("AWS::CloudWatch::Alarm"):
        assert name in text


def test_notices_are_encrypted_and_only_this_account_may_send_them(stack: Synthesised) -> None:
    (topic,) = stack.properties("AWS::SNS::Topic")
    (policy,) = stack.properties("AWS::SNS::TopicPolicy")
    account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}

    assert "KmsMasterKeyId" in topic
    allowed = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    services = {one["Principal"]["Service"] for one in allowed}
    assert services == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    assert all(one["Condition"] == account for one in allowed)
    # EventBridge knows no such condition there: it sends as a role of this account.
    (rule,) = stack.properties("AWS::Events::Rule")
    assert "FailedTrainingsTelling" in json.dumps(rule["Targets"][0]["RoleArn"])
    (told, encrypted) = [one for name, one in stack.statements() if "FailedTrainings" in name]
    assert told["Action"] == "sns:Publish"
    assert set(encrypted["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}


def test_a_full_instance_is_told_by_all_its_processors(stack: Synthesised) -> None:
    (alarm,) = [
        one
        for one in stack.properties("AWS::CloudWatch::Alarm")
        if one["AlarmDescription"].endswith("% of its CPU.")
    ]

    (expression,) = [one["Expression"] for one in alarm["Metrics"] if "Expression" in one]
    assert expression == "sum / 2"  # both stages' instances have two


def test_a_forecast_beyond_the_budget_is_told(stack: Synthesised) -> None:
    (budget,) = stack.properties("AWS::Budgets::Budget")

    assert budget["Budget"]["BudgetLimit"] == {
        "Amount": stack.stage.monthly_budget_usd,
        "Unit": "USD",
    }
    kinds = {
        one["Notification"]["NotificationType"] for one in budget["NotificationsWithSubscribers"]
    }
    assert kinds == {"ACTUAL", "FORECASTED"}


def test_there_is_no_lambda(stack: Synthesised) -> None:
    kinds = {
        resource["Type"]
        for part in ("base", "mlflow", "monitoring")
        for resource in json.loads(
            (stack.folder / f"{stack.stage.prefix}-{part}.template.json").read_text()
        )["Resources"].values()
    }
    assert not [kind for kind in kinds if kind.startswith(("Custom::", "AWS::Lambda"))]
    assert "AWS::CloudFormation::CustomResource" not in kinds


def test_every_resource_that_can_be_tagged_names_its_stage(stack: Synthesised) -> None:
    for kind in ("AWS::S3::Bucket", "AWS::RDS::DBInstance", "AWS::ECS::Service", "AWS::KMS::Key"):
        for properties in stack.properties(kind):
            tags = {one["Key"]: one["Value"] for one in properties["Tags"]}
            assert tags["stack"] == stack.stage.prefix
            assert tags["stage"] == stack.stage.name
