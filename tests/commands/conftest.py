from tests.aws.conftest import environment, simulator  # noqa: F401 - fixtures that serve here, too
