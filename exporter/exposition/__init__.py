"""Snapshots of transforms in, the bytes of /metrics out: rendered at the poll, sent at the scrape."""
