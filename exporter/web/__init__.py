"""The parts of the web server: listeners and connections, who is let in, and what each path answers.

`exporter.web.server` puts them together. Nothing here knows what is served beyond `routes.Backend`.
"""
