"""What outlives the process, in a SQLite file."""
