"""The least that the CDK does: its library, one empty stack, and its templates."""

import aws_cdk as cdk

app = cdk.App(analytics_reporting=False)
cdk.Stack(app, "Empty")
app.synth()
