"""How a command comes to its configuration and to AWS."""

import os
from dataclasses import replace
from pathlib import Path

import yaml

from exporter.cli.flags import CONFIG_FILE
from exporter.cli.options import RunsOptions
from exporter.cli.parser import UsageError
from exporter.config.settings import Config, load_config, read_config
from exporter.glue.client import ambient_region


def configuration(options: RunsOptions) -> Config:
    """Return the configuration that is named, or lies here; else one of the whole region with ambient credentials.

    Raises:
        UsageError: there is none, and nothing tells the region.
        ConfigError: it cannot be used.
        GlueError: the settings of AWS cannot be read.
    """
    path = Path(options.config_file or CONFIG_FILE)
    if options.config_file is None and not path.exists():
        return _of_region(options)
    config = read_config(path, environ=os.environ)
    if options.endpoint_url is None:
        return config
    accounts = tuple(replace(account, endpoint_url=None) for account in config.accounts)
    return replace(config, accounts=accounts, endpoint_url=options.endpoint_url)


def _of_region(options: RunsOptions) -> Config:
    region = options.region or os.environ.get("AWS_REGION") or ambient_region()
    if region is None:
        raise UsageError(f"no region: give --region or AWS_REGION, or name a configuration ({CONFIG_FILE} is not here)")
    endpoint_url = {"endpoint_url": options.endpoint_url.replace("$", "$$")} if options.endpoint_url else {}
    text = yaml.safe_dump({"region": region.replace("$", "$$"), **endpoint_url, "discovery": [{}]})
    return load_config(text, source="AWS settings", environ={})
