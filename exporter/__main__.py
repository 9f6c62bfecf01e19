"""`python -m exporter` is `glue-ml-exporter`."""

import sys

from exporter.cli import main

sys.exit(main())
