"""Wires the stacks of a stage: `cdk deploy --all`."""

import json

import aws_cdk as cdk

from contract.paths import PROJECT_ROOT
from contract.settings.stage import Stage
from infra.base.stack import BaseStack
from infra.checks import add_checks
from infra.mlflow.stack import MlflowStack
from infra.monitoring.stack import MonitoringStack

OURS = {
    # A value that another stack uses can't be taken away from under it.
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
    # It takes a Lambda, to empty a group that nothing is in.
    "@aws-cdk/aws-ec2:restrictDefaultSecurityGroup": False,
    # The stacks' own tags reach what the CDK can't tag by itself.
    "@aws-cdk/core:explicitStackTags": False,
}
"""Where we would have the CDK behave otherwise than it recommends in cdk.json."""


def build(stage: Stage, outdir: str | None = None) -> cdk.App:
    """Return the app of a stage, to be synthesised.

    Args:
        stage: All that differs from stage to stage.
        outdir: Where the templates go; by default where the CDK's command line says.
    """
    # How the CDK's makers would have a new app behave; read here, so for whoever builds the app.
    recommended = json.loads((PROJECT_ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(
        outdir=outdir, analytics_reporting=False, context=recommended, post_cli_context=OURS
    )
    cdk.Tags.of(app).add("project", stage.project)
    cdk.Tags.of(app).add("stage", stage.name)
    cdk.Tags.of(app).add("stack", stage.prefix)
    base = BaseStack(app, stage)
    tracking = MlflowStack(app, stage, base)
    MonitoringStack(app, stage, tracking)
    add_checks(app)
    return app
