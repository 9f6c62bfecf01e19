"""`glue-ml-exporter runs`: the run history of a transform, as Glue lists it."""
