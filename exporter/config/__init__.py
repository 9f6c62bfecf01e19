"""YAML and texts that people write in, a frozen `Config` out; every mistake with its place in the file."""
