"""The command `rules`: settings go in, and files with recording and alerting rules for Prometheus come out.

The rules are data made from the settings: `recordings` and the three modules of alerts. `files` writes them as YAML.
"""
