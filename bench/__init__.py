"""What the exporter costs, measured against what one would use without it: `python -m bench [--quick] [NAME ...]`.

Each benchmark is a module with a function `run(quick)` that yields `tables.Row`s. Contestants take turns, medians are
compared, and CPU time is preferred to wall time: the ratios hold on a noisy machine, the absolute figures may not.
"""
