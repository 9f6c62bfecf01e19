"""The table of failure reasons: it gives the ErrorString of a failed run one of a bounded number of classes.

An ErrorString must not be a metric label, because each text would create a new series. A class can be a label, and an
alert can be routed by it.

A pattern is text that occurs anywhere in an ErrorString, in upper or lower case; ``*`` stands for any characters.
Patterns are not regular expressions. A search needs time in proportion to the length of the text, so no pattern and no
text can stop a poll. Example: ``status code: 403*s3`` matches "Status Code: 403; Error ... Service: Amazon S3".
"""

from dataclasses import dataclass
from functools import lru_cache

LONGEST_ERROR = 1000
"""Number of characters of an ErrorString that are read. Glue does not limit its length, and it can be a stack trace."""

OTHER = "other"
"""The reason if no pattern matches, or if Glue gives no ErrorString."""

TIMEOUT = "timeout"
"""The reason of a run with the status TIMEOUT if its ErrorString says nothing more exact."""

# The first class that matches is the reason. So a class comes after all classes whose messages can contain its texts.
# Example: "Job aborted due to stage failure: ... OutOfMemoryError" is out_of_memory and not spark_error.
#
# The texts are those of AWS's documents ("Troubleshooting Spark errors" and "AWS Glue machine learning exceptions"), of
# the exceptions of Amazon S3, KMS, Hadoop and Spark, and of public reports about them.
_TABLE: dict[str, tuple[str, ...]] = {
    "out_of_memory": (
        "out of memory",
        "outofmemory",
        "java heap space",
        "gc overhead limit",
        "running beyond * memory limits",
        "exceeding memory limits",
        "code is 137",
        "exit status: 137",
        "code 137",
        "oomkill",
        "oom killer",
        "cannot allocate memory",
        "is bigger than spark.driver.maxresultsize",
        "memoryerror",
    ),
    "out_of_disk": ("no space left on device", "disk quota exceeded", "disk is full", "diskerrorexception"),
    "encryption": (
        "kms*disabled",
        "disabled*kms",
        "kmsinvalidstate",
        "kms.notfound",
        "kms key*pending deletion",
        "kms key*not found",
        "kms*does not exist",
        "glueencryptionexception",
        "wrong key or corrupt data",
    ),
    "access_denied": (
        "access denied",
        "accessdenied",
        "status code: 403",
        "403 forbidden",
        "error code: 403",
        "not authorized",
        "unauthorized",
        "insufficient lake formation permission",
        "insufficient permission",
        "does not have permission",
        "permission denied",
        "missing permission",
        "should be given assume role permissions",
        "unable to assume role",
        "cannot be assumed",
        "explicit deny",
        "allaccessdisabled",
        "required permission",
    ),
    "credentials": (
        "expiredtoken",
        "security token * expired",
        "security token * invalid",
        "token has expired",
        "token is expired",
        "invalidaccesskeyid",
        "access key id*does not exist",
        "signaturedoesnotmatch",
        "unable to load credentials",
        "unable to load aws credentials",
        "no credentials",
        "no aws credentials",
        "invalidclienttokenid",
    ),
    "concurrency": (
        "concurrentrunsexceeded",
        "concurrent runs",
        "maximum concurrent",
        "max concurrent",
        "number of concurrent",
        "task runs count",
        "already running",
        "already an ongoing",
        "resourcenumberlimitexceeded",
        "exceeded the limit of",
        "account limit",
        "concurrentmodification",
    ),
    "no_capacity": (
        "resource unavailable",
        "resource_unavailable",
        "resources unavailable",
        "insufficient capacity",
        "insufficientinstancecapacity",
        "not enough capacity",
        "no capacity",
        "insufficient ip",
        "insufficient free addresses",
        "insufficientfreeaddresses",
        "not have enough free",
        "unable to acquire * resources",
        "failed to acquire",
        "could not find subnet",
        "networkinterfacelimitexceeded",
        "has not accepted any resources",
    ),
    "throttled": (
        "throttl",
        "slow down",
        "slowdown",
        "rate exceeded",
        "too many requests",
        "toomanyrequests",
        "provisionedthroughputexceeded",
        "reduce your request rate",
        "request limit exceeded",
        "requestlimitexceeded",
        "status code: 429",
    ),
    "network": (
        "could not find s3 endpoint",
        "s3 endpoint validation failed",
        "vpc endpoint",
        "nat gateway",
        "security group",
        "unknownhost",
        "unknown host",
        "name resolution",
        "private dns",
        "connection refused",
        "connection reset",
        "connection was reset",
        "connection timed out",
        "connect timed out",
        "connecttimeout",
        "failed to connect",
        "unable to execute http request",
        "communications link failure",
        "network is unreachable",
        "no route to host",
        "ssl handshake",
        "sslhandshake",
        "unable to find valid certification path",
        "unable to connect",
        "broken pipe",
    ),
    "not_found": (
        "nosuchbucket",
        "no such bucket",
        "nosuchkey",
        "specified key does not exist",
        "bucket does not exist",
        "path does not exist",
        "no such file or directory",
        "filenotfound",
        "entitynotfound",
        "entity not found",
        "nosuchobject",
        "table_or_view_not_found",
        "nosuchtable",
        "cannot find mltransform",
        "no ml task run found",
        "table * not found",
        "table * does not exist",
        "database * not found",
        "database * does not exist",
        "status code: 404",
    ),
    "bad_labels": (
        "labeling_set_id",
        "labeling set id",
        "labels file",
        "label file",
        "labeling file",
        "labelling file",
        "label column",
        "'label'",
        "no labels",
        "not enough labels",
        "insufficient labels",
        "number of labels",
        "labels are",
        "labels must",
        "label set",
        "invalid label",
        "unlabeled",
    ),
    "not_ready": (
        "mltransformnotready",
        "not in ready state",
        "not ready",
        "in a ready state",
        "needs training",
        "not been trained",
        "not trained",
    ),
    "bad_input": (
        "analysisexception",
        "cannot resolve",
        "cannot cast",
        "schema",
        "data type",
        "datatype",
        "primary key",
        "column",
        "malformed",
        "parse error",
        "parseexception",
        "parsing error",
        "could not read footer",
        "is not a parquet file",
        "unable to parse",
        "unable to infer",
        "failed to read",
        "failed to parse",
        "numberformatexception",
        "invalidinput",
        "invalid input",
        "invalidobjectstate",
        "not valid for the object's storage class",
        "unicodedecodeerror",
        "no records",
        "no data",
        "is empty",
        "empty input",
        "illegalargumentexception",
        "validationexception",
        "should be specified",
        "must be provided",
        "duplicate",
        "unsupported",
        "invalid s3",
        "corrupt",
    ),
    TIMEOUT: ("timed out", "timeout", "time out"),
    "internal": (
        "internal service",
        "internal error",
        "internal failure",
        "internalservice",
        "internalerror",
        "dependency failure",
        "service unavailable",
        "serviceunavailable",
        "unknown error",
        "unexpected error",
        "please retry",
        "try again",
        "status code: 500",
        "status code: 503",
    ),
    "spark_error": (
        "job aborted",
        "stage failure",
        "executorlostfailure",
        "lost executor",
        "executor lost",
        "fetchfailed",
        "fetch failed",
        "sparkcontext",
        "py4j",
        "error occurred while calling",
        "exit code",
        "exit status",
        "task failed while writing",
        "exception",
    ),
}

BUILT_IN = tuple((reason, pattern) for reason, patterns in _TABLE.items() for pattern in patterns)
"""Each reason with a pattern, in the order in which they are tried."""

REASONS = (*_TABLE, OTHER)
"""The built-in reasons. The configuration can add others."""


@dataclass(frozen=True, slots=True)
class FailureReasons:
    """Gives failed runs their reason."""

    custom: tuple[tuple[str, str], ...] = ()
    """Reasons and patterns of the configuration, which are tried before the built-in ones."""

    def reason_of(self, status: str, error: str | None) -> str:
        """Return the reason why a run ended with ``status`` (FAILED or TIMEOUT) and the ErrorString ``error``.

        The result is a built-in or a configured reason, for every text.
        """
        text = _comparable((error or "")[:LONGEST_ERROR])
        found = (reason for reason, pattern in (*self.custom, *BUILT_IN) if _occurs(_parts(pattern), text))
        return next(found, TIMEOUT if status == "TIMEOUT" else OTHER)


def _comparable(text: str) -> str:
    """Return the text in lower case, with one blank in place of each line break and each run of blanks."""
    return " ".join(text.lower().split())


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[str, ...]:
    """Return the texts between the ``*`` of a pattern. Without the cache they would take most of the time."""
    return tuple(_comparable(part) for part in pattern.split("*"))


def _occurs(parts: tuple[str, ...], text: str) -> bool:
    """Return whether the parts of a pattern occur in the text, one after the other."""
    position = 0
    for part in parts:
        position = text.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return True
