"""Records of runs as a table, as JSON or as CSV, and the progress line of a terminal."""
