"""Benchmarks of the exporter against the tools that it replaces: `python -m bench [--quick] [NAME ...]`.

Each benchmark is a module with a function `run(quick)` that yields `tables.Row`s. The compared programs run
alternately, and the medians are compared. Most benchmarks measure CPU time, because other programs on the machine
change wall times more. The absolute figures depend on the machine.
"""
