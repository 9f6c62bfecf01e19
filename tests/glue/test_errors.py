from exporter.model.errors import GlueError


def test_the_text_of_an_error_names_the_reason_once_and_ends_with_the_advice() -> None:
    """The text has the reason once, then the message of AWS, then the advice for the reader."""
    denied = GlueError("AccessDeniedException", "GetMLTaskRuns: AccessDeniedException: no", advice="allow it")
    assert denied.full_text == "GetMLTaskRuns: AccessDeniedException: no; allow it"
    assert GlueError("timeout", "no answer within 30s").full_text == "timeout: no answer within 30s"
