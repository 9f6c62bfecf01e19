"""The pure core: the runs of a poll in, what they add to the counters out."""
