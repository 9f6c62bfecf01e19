from tests.aws_environment import clock, credentials_file, environment, simulator  # noqa: F401 - pytest finds fixtures here
