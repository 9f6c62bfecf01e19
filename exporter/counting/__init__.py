"""The pure core: task runs go in poll by poll, and the counters and gauges of one transform come out.

A poll fills a `Reading`; `Ledger.commit` applies it and returns `Changes` for the log and the state file.
"""

from exporter.counting.ledger import Changes, Ledger
from exporter.counting.reading import Reading

__all__ = ["Changes", "Ledger", "Reading"]
