"""Records of Glue and the progress of a command go in; texts that are safe for terminals and files come out."""
