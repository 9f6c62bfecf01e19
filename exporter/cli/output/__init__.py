"""Makes texts that are safe for terminals and files, from records of Glue and the progress of a command."""
