"""The Grafana dashboards as JSON files, and the command that writes them to another folder.

`python -m dashboards.generate` in the repository makes the JSON files, with a library that only developers install.
"""
