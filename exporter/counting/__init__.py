"""Turns the task runs of one transform into its counters and gauges, without a clock, network or lock.

A poll fills a `Reading`. `Ledger.commit` then counts the new runs of the reading, updates the ledger, and returns the
`Changes` for the log and the state file.
"""

from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading

__all__ = ["Changes", "Ledger", "Reading"]
