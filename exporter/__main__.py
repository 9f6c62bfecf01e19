"""`python -m exporter` is the command `glue-ml-exporter`."""

import sys

from exporter.cli import main

sys.exit(main())
