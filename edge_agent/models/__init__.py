"""Models: bundles (what a model is), the store (which is active), vetting (may it be loaded), the encoder."""

import os

# ONNX Runtime's wheels (seen in 1.32 for Linux) collect usage events, keep them with a device id below the home folder
# and hold the address to upload them to. A gateway tells nobody anything on its own: this must stand before the
# library loads, and every import of it is inside this package. (disable_telemetry_events() comes too late: the files
# exist by then.)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
