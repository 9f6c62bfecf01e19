"""`glue-ml-exporter runs`: prints the run history of transforms, as Glue lists it."""
