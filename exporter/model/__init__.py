"""What the other packages speak about: one run, one transform, one shard."""
