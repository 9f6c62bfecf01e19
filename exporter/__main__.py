"""`python -m exporter` is `glue-ml-exporter`."""

import sys

from exporter.cli.main import main

sys.exit(main())
