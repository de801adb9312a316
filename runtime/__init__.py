"""The detector on the device: from samples to events. Imports nothing else of ours, and never torch."""

import os

# onnxruntime's wheels for Linux (seen in 1.32) number the device and report to Microsoft, unless this is set before
# they are imported. A program that listens to people's homes must not report anything.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
