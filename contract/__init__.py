"""What the rooms agree on: settings, errors, releases and where they are kept."""

import os

# From 1.29 on onnxruntime reports to its makers from the moment that it is loaded, on Linux too.
# Here, since every room that loads it imports this one before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
