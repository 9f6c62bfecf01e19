"""Prometheus exporter for AWS Glue machine-learning task runs."""

import os

__version__ = "0.1.0"

__revision__ = os.environ.get("GLUE_ML_EXPORTER_REVISION", "unknown")
"""The revision of the source code. The build of an image or a package sets the variable."""
