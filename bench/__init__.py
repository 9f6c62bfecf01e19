"""Benchmarks of the exporter against the tools that it replaces: `python -m bench [--quick] [NAME ...]`.

Each benchmark is a module with a function `run(quick)` that yields `tables.Row`s. Contestants alternate, medians are
compared, and CPU time is preferred to wall time, so that the ratios hold on a noisy machine. The absolute figures
depend on the machine.
"""
