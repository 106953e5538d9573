"""Wires the stacks of a stage: `cdk deploy --all`."""

import aws_cdk as cdk

from contract.stage import Stage
from infra.checks import add_checks
from infra.stacks import BaseStack, MonitoringStack, TrackingStack

FLAGS = {
    # A value that another stack uses can't be taken away from under it.
    "@aws-cdk/core:defaultCrossStackReferences": "strong",
    # Access logs by a bucket's policy: access lists are what S3 advises against.
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
    # What CloudFormation would refuse is an error now, not in the middle of a deployment.
    "@aws-cdk/core:validateAgainstDefaultRules": True,
}
"""How the CDK is to behave. Here, not in cdk.json, so that it is so for whoever builds the app."""


def build(stage: Stage, outdir: str | None = None) -> cdk.App:
    """Return the app of a stage, to be synthesised.

    Args:
        stage: All that differs from stage to stage.
        outdir: Where the templates go; by default where the CDK's command line says.
    """
    app = cdk.App(outdir=outdir, analytics_reporting=False, context=FLAGS)
    cdk.Tags.of(app).add("project", stage.project)
    cdk.Tags.of(app).add("stage", stage.name)
    cdk.Tags.of(app).add("stack", stage.prefix)
    base = BaseStack(app, stage)
    tracking = TrackingStack(app, stage, base)
    MonitoringStack(app, stage, tracking)
    add_checks(app)
    return app
