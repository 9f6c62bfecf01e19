from tests.aws_environment import environment, simulator  # noqa: F401 - pytest finds fixtures by their names here
