"""The classes of ErrorStrings, with a hundred texts as Glue, Spark, Hadoop, S3 and KMS word them.

The names, ids and numbers in the texts are invented.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model.failure_reasons import BUILT_IN, LONGEST_ERROR, OTHER, REASONS, FailureReasons

TEXTS = {
    "access_denied": [
        "AccessDenied: Access Denied (Service: Amazon S3; Status Code: 403; Bucket: erp-suppliers)",
        "Unable to read input table erp.suppliers: Access Denied",
        (
            "An error occurred while calling o84.getDynamicFrame. com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws"
            ".services.s3.model.AmazonS3Exception: Access Denied (Service: Amazon S3; Status Code: 403; Error Code:"
            " AccessDenied; Request ID: 7F3A91C0D2E4B586; S3 Extended Request ID: q0Zk=)"
        ),
        (
            "java.nio.file.AccessDeniedException: s3a://crm-exports/2026/part-00000.parquet: getFileStatus on"
            " s3a://crm-exports/2026/part-00000.parquet"
        ),
        (
            "User: arn:aws:sts::123456789012:assumed-role/glue-ml/GlueJobRunnerSession is not authorized to perform:"
            " glue:GetTable on resource: arn:aws:glue:eu-west-1:123456789012:table/crm/customers"
        ),
        (
            "User: arn:aws:sts::123456789012:assumed-role/glue-ml/GlueJobRunnerSession is not authorized to perform:"
            " kms:Decrypt on the resource associated with this ciphertext because no identity-based policy allows the"
            " kms:Decrypt action"
        ),
        "Insufficient Lake Formation permission(s) on customers",
        "Insufficient Lake Formation permission(s): Required Select on crm",
        "Role arn:aws:iam::123456789012:role/glue-ml should be given assume role permissions for Glue Service.",
        "Unable to assume role arn:aws:iam::123456789012:role/glue-ml. Verify that its trust policy allows AWS Glue.",
        "DescribeVpcEndpoints action is unauthorized. Unable to validate VPC Id: vpc-0a1b2c3d4e5f60718",
        "org.apache.hadoop.security.AccessControlException: Permission denied when trying to open /tmp/hive",
        "The caller does not have permission to the catalog table, an explicit deny in a service control policy",
        "AllAccessDisabled: All access to this object has been disabled",
    ],
    "credentials": [
        (
            "The AWS Access Key Id you provided does not exist in our records. (Service: Amazon S3; Error Code:"
            " InvalidAccessKeyId)"
        ),
        "ExpiredToken: The provided token has expired. (Service: Amazon S3; Status Code: 400)",
        "ExpiredTokenException: The security token included in the request is expired",
        "UnrecognizedClientException: The security token included in the request is invalid.",
        "com.amazonaws.SdkClientException: Unable to load credentials from service endpoint",
    ],
    "encryption": [
        "arn:aws:kms:eu-west-1:123456789012:key/1f2e is disabled. (Service: Kms, Status Code: 400)",
        "KMSInvalidStateException: arn:aws:kms:eu-west-1:123456789012:key/1f2e is pending deletion.",
        "GlueEncryptionException: an encryption operation failed",
        "KMS.NotFoundException: Alias arn:aws:kms:eu-west-1:123456789012:alias/glue is not found.",
    ],
    "out_of_memory": [
        "Job aborted due to stage failure: ExecutorLostFailure (exit code 137, out of memory)",
        "java.lang.OutOfMemoryError: Java heap space",
        "java.lang.OutOfMemoryError: GC overhead limit exceeded",
        (
            "ExecutorLostFailure (executor 12 exited caused by one of the running tasks) Reason: Container killed by"
            " YARN for exceeding memory limits. 5.6 GB of 5.5 GB physical memory used. Consider boosting"
            " spark.yarn.executor.memoryOverhead."
        ),
        (
            "Container [pid=1102,containerID=container_01_000001] is running beyond physical memory limits. Current"
            " usage: 5.5 GB of 5.5 GB physical memory used; 7.7 GB of 27.5 GB virtual memory used. Killing container."
        ),
        (
            "Job aborted due to stage failure: Task 3 in stage 7.0 failed 4 times, most recent failure: Lost task 3.3"
            " (executor 5): ExecutorLostFailure Reason: Container from a bad node. Exit status: 137.\nDiagnostics:"
            " Container killed on request. Exit code is 137"
        ),
        "Command failed with exit code 137",
        "Total size of serialized results of 162 tasks (1029.4 MB) is bigger than spark.driver.maxResultSize (1024 MB)",
        "OpenJDK 64-Bit Server VM warning: INFO: os::commit_memory failed; error='Cannot allocate memory' (errno=12)",
        "An error occurred while calling o71.collectToPython.\n Out of Memory in the driver",
    ],
    "out_of_disk": [
        "java.io.IOException: No space left on device",
        "Job aborted due to stage failure: Lost task 11.0: java.io.IOException: No space left on device at sun.nio.ch",
        "org.apache.hadoop.util.DiskChecker$DiskErrorException: could not find any valid local directory",
    ],
    "concurrency": [
        "Exceeded maximum concurrent compute capacity.",
        "Exceeded maximum concurrent compute capacity for your account: 100. Please contact AWS Support",
        "ConcurrentRunsExceededException: Concurrent runs exceeded for find-matches-crm",
        "ML Task Runs count 10 has exceeded the transform limit of 10 task runs.",
        "ResourceNumberLimitExceededException: Max concurrent job runs per account exceeded",
        "There is already an ongoing export of labels for this transform.",
    ],
    "no_capacity": [
        "Insufficient IP addresses in subnet subnet-0a1b2c3d.",
        "Resource unavailable",
        "RESOURCE_UNAVAILABLE: could not get the resources that the job needs in this Region",
        "The specified subnet does not have enough free addresses to satisfy the request.",
        "InsufficientFreeAddressesInSubnet: subnet-0a1b2c3d has too few addresses",
        "Initial job has not accepted any resources; check your cluster UI to ensure that workers are registered",
        "Could not find subnet for AZ eu-west-1d",
        "InsufficientInstanceCapacity: We currently do not have sufficient capacity in the zone",
    ],
    "throttled": [
        (
            "com.amazonaws.services.s3.model.AmazonS3Exception: Please reduce your request rate. (Service: Amazon S3;"
            " Status Code: 503; Error Code: SlowDown)"
        ),
        "Slow Down (Service: Amazon S3; Status Code: 503; Error Code: 503 Slow Down)",
        "ThrottlingException: Rate exceeded (Service: AWSGlue; Status Code: 400)",
        "ProvisionedThroughputExceededException: The level of configured provisioned throughput was exceeded",
        "An error occurred (TooManyRequestsException) when calling the GetTable operation",
    ],
    "network": [
        "Could not find S3 endpoint or NAT gateway for subnetId: subnet-0a1b2c3d in Vpc vpc-0a1b2c3d",
        (
            "VPC S3 endpoint validation failed for SubnetId: subnet-0a1b2c3d. VPC: vpc-0a1b2c3d. Reason: Could not find"
            " S3 endpoint or NAT gateway"
        ),
        "At least one security group must open all ingress ports.",
        "java.net.UnknownHostException: crm-exports.s3.eu-west-1.amazonaws.com",
        "Unable to execute HTTP request: Connect to glue.eu-west-1.amazonaws.com:443 failed: connect timed out",
        "com.mysql.cj.jdbc.exceptions.CommunicationsException: Communications link failure",
        "java.net.ConnectException: Connection refused (Connection refused)",
        "Unable to execute HTTP request: Connection reset",
        "The specified port is already in use, and no private DNS was found for the network interface",
        "javax.net.ssl.SSLHandshakeException: PKIX path building failed: unable to find valid certification path",
        "Could not connect: java.net.NoRouteToHostException: No route to host",
    ],
    "not_found": [
        "Table archive.customers_2019 not found.",
        "EntityNotFoundException: Entity Not Found (Service: AWSGlue; Status Code: 400)",
        "NoSuchBucket: The specified bucket does not exist (Service: Amazon S3; Status Code: 404)",
        "The specified key does not exist. (Service: Amazon S3; Status Code: 404; Error Code: NoSuchKey)",
        "AnalysisException: Path does not exist: s3://crm-exports/2026/11/26",
        "java.io.FileNotFoundException: No such file or directory 's3://crm-exports/part-00001'",
        "org.apache.spark.sql.AnalysisException: Table or view not found: crm.customers; line 1 pos 14",
        "Cannot find MLTransform in account 123456789012 with handle customers-dedup.",
        "Database crm does not exist or was deleted",
    ],
    "bad_labels": [
        "Labels file is malformed: expected column 'labeling_set_id' in line 1.",
        "The label column contains values for a labeling set with only one record.",
        "Not enough labels to train the transform.",
        "Each labeling_set_id must have at least one match and one that does not match",
        "Label file s3://crm-labels/1.csv has 4 columns, the schema of the transform has 5",
        "Invalid label value in row 12",
    ],
    "not_ready": [
        "MLTransformNotReadyException: This operation can only be applied to a transform that is in a READY state.",
        "Transform customers-dedup is not ready",
        "The transform has not been trained",
    ],
    "bad_input": [
        "org.apache.spark.sql.AnalysisException: cannot resolve '`email`' given input columns: [id, city]",
        "Input source column birth_date has an invalid data type defined in catalog.",
        "Schema should contain given primary key: id.",
        "Exactly one input record table must be provided.",
        "Could not read footer for file: s3://crm-exports/part-00000; is not a Parquet file (too small)",
        "Unable to infer schema for Parquet. It must be specified manually.",
        'java.lang.NumberFormatException: For input string: "n/a"',
        "Unable to parse file: customers.csv",
        (
            "The operation is not valid for the object's storage class (Service: Amazon S3; Error Code:"
            " InvalidObjectState)"
        ),
        "InvalidInputException: Duplicate values in the primary key",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 18",
        "The input table is empty.",
    ],
    "timeout": [
        "Task run exceeded its timeout after 1200 seconds.",
        "Futures timed out after [300 seconds]. This timeout is controlled by spark.sql.broadcastTimeout",
        "The operation timed out.",
        "OperationTimeoutException: waited too long for the catalog",
    ],
    "internal": [
        "Internal service error while running the task.",
        "InternalServiceException: An internal service error occurred.",
        "Internal service failure due to an unexpected problem.",
        "Dependency failure.",
        "We encountered an internal error. Please try again. (Service: Amazon S3; Status Code: 500)",
        "Unknown error, please retry.",
    ],
    "spark_error": [
        "Command failed with exit code 1",
        "An error occurred while calling o120.pyWriteDynamicFrame. Job aborted.",
        "Job aborted due to stage failure: Task 0 in stage 2.0 failed 4 times",
        "org.apache.spark.shuffle.MetadataFetchFailedException: Missing an output location for shuffle 3",
        "Job 4 cancelled because SparkContext was shut down",
        "ExecutorLostFailure (executor 7 on ip-172-31-9-1.eu-west-1.compute.internal exited)",
        "ExecutorLostFailure (executor 4 exited unrelated to the running tasks) Reason: Executor heartbeat lost",
    ],
    "other": [
        "",
        "The task run failed.",
        "42",
    ],
}
TABLE = FailureReasons()


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in TEXTS.items() for text in texts])
def test_the_reason_of_a_text(reason: str, text: str) -> None:
    """Each text has the class that tells its reader where to look."""
    assert TABLE.reason_of("FAILED", text) == reason


def test_the_texts_are_a_hundred_and_try_every_reason() -> None:
    """At least a hundred texts are tried, and at least one for each reason."""
    assert sum(map(len, TEXTS.values())) >= 100
    assert set(TEXTS) == set(REASONS)


@given(st.sampled_from(["FAILED", "TIMEOUT"]), st.none() | st.text(max_size=3 * LONGEST_ERROR))
def test_every_text_has_one_of_the_reasons(status: str, text: str | None) -> None:
    """The number of reasons is bounded, whatever Glue sends."""
    assert TABLE.reason_of(status, text) in REASONS


def test_a_timeout_needs_no_text() -> None:
    """A run that ended in TIMEOUT has the reason timeout, unless its ErrorString says something more exact."""
    assert TABLE.reason_of("TIMEOUT", None) == "timeout"
    assert TABLE.reason_of("TIMEOUT", "stopped after 2880 minutes") == "timeout"
    assert TABLE.reason_of("TIMEOUT", "AccessDenied") == "access_denied"
    assert TABLE.reason_of("FAILED", None) == OTHER


def test_reasons_of_the_configuration_come_first() -> None:
    """A configured pattern is tried before the built-in ones, in the order of the configuration."""
    reasons = FailureReasons((("erp", "bucket: erp-*"), ("crm", "crm"), ("late", "crm")))
    assert reasons.reason_of("FAILED", "Access Denied (Bucket: ERP-suppliers)") == "erp"
    assert reasons.reason_of("FAILED", "crm: access denied") == "crm"
    assert reasons.reason_of("FAILED", "access denied") == "access_denied"


@pytest.mark.parametrize(
    ("pattern", "text", "occurs"),
    [
        ("a*b", "xxA and B", True),
        ("a*b", "b and a", False),
        ("ab*bc", "abc", False),
        ("ab*bc", "ab bc", True),
        ("two words", "two\n   words", True),
        ("(x+)+$", "xxxxxxx!", False),
        ("a.c", "abc", False),
    ],
)
def test_a_pattern_is_text_with_stars(pattern: str, text: str, occurs: bool) -> None:
    """The parts between the stars must occur in their order without overlap; nothing else has a special meaning."""
    assert (FailureReasons((("mine", pattern),)).reason_of("FAILED", text) == "mine") is occurs


def test_only_the_beginning_of_a_text_is_read() -> None:
    """Text after the first thousand characters is not read, so that a stack trace costs no more than a sentence."""
    reasons = FailureReasons((("mine", "the end"),))
    assert reasons.reason_of("FAILED", "x" * (LONGEST_ERROR - 8) + " the end") == "mine"
    assert reasons.reason_of("FAILED", "x" * LONGEST_ERROR + " the end") == OTHER


def test_reasons_are_label_values_and_patterns_are_in_lower_case() -> None:
    """Reasons are short words, and no pattern is spelled in a way in which it could not match."""
    for reason, pattern in BUILT_IN:
        assert re.fullmatch("[a-z][a-z_]*", reason)
        assert pattern == " ".join(pattern.lower().split())
