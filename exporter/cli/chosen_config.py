"""The configuration of `runs` and `transforms`, which also work without a configuration file."""

import os
from dataclasses import replace
from pathlib import Path

import yaml

from exporter.cli.flags import CONFIG_FILE
from exporter.cli.options import RunsOptions, TransformsOptions
from exporter.cli.parser import UsageError
from exporter.config.settings import Config, load_config, read_config
from exporter.glue.botocore_setup import ambient_region


def chosen_config(options: RunsOptions | TransformsOptions) -> Config:
    """Return the configuration from the file that the user names, or from `config.yaml` in the working directory.

    If no file is named and `config.yaml` does not exist, return a configuration for the whole region with the
    credentials of the environment.

    Raises:
        UsageError: no file and no region is known.
        ConfigError: the configuration cannot be used.
        GlueError: the AWS settings of this machine cannot be read.
    """
    path = Path(options.config_file or CONFIG_FILE)
    if options.config_file is None and not path.exists():
        return _config_of_region(options)
    config = read_config(path, environ=os.environ)
    if options.endpoint_url is None:
        return config
    accounts = tuple(account.model_copy(update={"endpoint_url": None}) for account in config.accounts)
    return replace(config, accounts=accounts, endpoint_url=options.endpoint_url)


def _config_of_region(options: RunsOptions | TransformsOptions) -> Config:
    region = options.region or os.environ.get("AWS_REGION") or ambient_region()
    if region is None:
        raise UsageError(
            f"no region: set --region or AWS_REGION, or name a configuration file (there is no {CONFIG_FILE} here)"
        )
    # The configuration expands variables, so each $ is doubled.
    endpoint_url = {"endpoint_url": options.endpoint_url.replace("$", "$$")} if options.endpoint_url else {}
    text = yaml.safe_dump({"region": region.replace("$", "$$"), **endpoint_url, "discovery": [{}]})
    return load_config(text, source="AWS settings", environ={})
