"""`iam-policy`: print the policies of a configuration as JSON, for Terraform or for CloudFormation."""

import os
import sys
from pathlib import Path

from exporter.cli.iam.grants import grants_of
from exporter.cli.iam.output import as_cloudformation, as_json, as_terraform
from exporter.cli.options import IamPolicyOptions
from exporter.config.settings import read_config

_FORMATS = {"json": as_json, "terraform": as_terraform, "cloudformation": as_cloudformation}


def print_policy(options: IamPolicyOptions) -> int:
    """Print the policies of the configuration, with `--for` also the trust policies of their roles; return 0.

    Raises:
        ConfigError: the configuration cannot be used.
        ExporterError: `--for` names a kind of role that the configuration does not need.
    """
    config = read_config(Path(options.config_file), environ=os.environ)
    grants = grants_of(config, options.for_)
    print(_FORMATS[options.output](grants).rstrip("\n"))
    names = list(dict.fromkeys(variable.json_name for grant in grants for variable in grant.variables))
    if options.output == "json" and names:
        print(f"replace {', '.join(names)} by your values", file=sys.stderr)
    return 0
