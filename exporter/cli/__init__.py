"""What a person types: the command line, read and run; the only package that knows every other."""
