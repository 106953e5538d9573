"""A CDK app with one empty stack, to compare with: the minimum that a synthesis takes."""

import aws_cdk as cdk

app = cdk.App(analytics_reporting=False)
cdk.Stack(app, "Empty")
app.synth()
