"""The CDK app: creates the stacks of one stage and connects them."""

import json

import aws_cdk as cdk

from contract.paths import PROJECT_ROOT
from contract.settings.stage import Stage
from infra.base.stack import BaseStack
from infra.checks import add_checks
from infra.mlflow.stack import MlflowStack
from infra.monitoring.stack import MonitoringStack

CONTEXT_OVERRIDES = {
    # CloudFormation refuses to remove a value that another stack uses.
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
    # It needs a Lambda function, to empty a security group that nothing uses.
    "@aws-cdk/aws-ec2:restrictDefaultSecurityGroup": False,
    # The tags of a stack are applied to resources that the CDK can't tag by itself.
    "@aws-cdk/core:explicitStackTags": False,
}
"""Feature flags that differ from the CDK's recommendations in cdk.json."""


def build_app(stage: Stage, outdir: str | None = None) -> cdk.App:
    """Return the app of a stage, ready to be synthesized.

    Args:
        stage: All settings that differ between stages.
        outdir: Where to write the templates; by default, where the CDK CLI expects them.
    """
    # The feature flags that the CDK recommends for a new app. They are read here, so that they
    # also apply when the CDK CLI does not start the app.
    recommended = json.loads((PROJECT_ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(
        outdir=outdir,
        analytics_reporting=False,
        context=recommended,
        post_cli_context=CONTEXT_OVERRIDES,
    )
    cdk.Tags.of(app).add("project", stage.project)
    cdk.Tags.of(app).add("stage", stage.name)
    cdk.Tags.of(app).add("stack", stage.prefix)
    base = BaseStack(app, stage)
    mlflow = MlflowStack(app, stage, base)
    MonitoringStack(app, stage, mlflow)
    add_checks(app)
    return app
