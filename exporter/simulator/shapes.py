"""The documented shapes of the Glue operations that the simulator speaks, as data.

Written from the web API reference of Glue (API version 2017-03-31): per shape its type, members, allowed values and
constraints. `checking` reads requests against this table; a test compares it with botocore's own service model.
"""

from dataclasses import dataclass, field
from types import MappingProxyType

_NO_MEMBERS: MappingProxyType[str, str] = MappingProxyType({})

TEXT = r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*"
TEXT_WITH_LINES = r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*"

TASK_TYPES = (
    "EVALUATION",
    "LABELING_SET_GENERATION",
    "IMPORT_LABELS",
    "EXPORT_LABELS",
    "FIND_MATCHES",
)
STATUSES = ("STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
FINAL_STATUSES = ("STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
TRANSFORM_STATUSES = ("NOT_READY", "READY", "DELETING")
WORKER_TYPES = (
    "Standard",
    "G.1X",
    "G.2X",
    "G.4X",
    "G.8X",
    "G.025X",
    "Z.2X",
    "G.12X",
    "G.16X",
    "R.1X",
    "R.2X",
    "R.4X",
    "R.8X",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape.

    `members` maps a structure's members to shape names; `minimum` and `maximum` bound a number's value,
    a string's length or a list's size.
    """

    type: str
    members: MappingProxyType[str, str] = field(default_factory=lambda: _NO_MEMBERS)
    required: tuple[str, ...] = ()
    enum: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    element: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: the names of its request and response shapes and of the errors documented for it."""

    request: str
    response: str
    errors: tuple[str, ...]


def _structure(required: str = "", **members: str) -> Shape:
    return Shape("structure", MappingProxyType(members), tuple(required.split()))


def _string(
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    enum: tuple[str, ...] = (),
) -> Shape:
    return Shape("string", minimum=minimum, maximum=maximum, pattern=pattern, enum=enum)


def _list(element: str, *, minimum: float | None = None, maximum: float | None = None) -> Shape:
    return Shape("list", element=element, minimum=minimum, maximum=maximum)


def _map(key: str, value: str, minimum: float, maximum: float) -> Shape:
    return Shape("map", key=key, element=value, minimum=minimum, maximum=maximum)


_TASK_RUN = {
    "TransformId": "HashString",
    "TaskRunId": "HashString",
    "Status": "TaskStatusType",
    "LogGroupName": "GenericString",
    "Properties": "TaskRunProperties",
    "ErrorString": "GenericString",
    "StartedOn": "Timestamp",
    "LastModifiedOn": "Timestamp",
    "CompletedOn": "Timestamp",
    "ExecutionTime": "ExecutionTime",
}
_TRANSFORM = {
    "TransformId": "HashString",
    "Name": "NameString",
    "Description": "DescriptionString",
    "Status": "TransformStatusType",
    "CreatedOn": "Timestamp",
    "LastModifiedOn": "Timestamp",
    "InputRecordTables": "GlueTables",
    "Parameters": "TransformParameters",
    "EvaluationMetrics": "EvaluationMetrics",
    "LabelCount": "LabelCount",
    "Schema": "TransformSchema",
    "Role": "RoleString",
    "GlueVersion": "GlueVersionString",
    "MaxCapacity": "NullableDouble",
    "WorkerType": "WorkerType",
    "NumberOfWorkers": "NullableInteger",
    "Timeout": "Timeout",
    "MaxRetries": "NullableInteger",
    "TransformEncryption": "TransformEncryption",
}
_TRANSFORM_LISTING = {
    "NextToken": "PaginationToken",
    "MaxResults": "PageSize",
    "Filter": "TransformFilterCriteria",
    "Sort": "TransformSortCriteria",
}

SHAPES: MappingProxyType[str, Shape] = MappingProxyType(
    {
        "GetMLTaskRunsRequest": _structure(
            "TransformId",
            TransformId="HashString",
            NextToken="PaginationToken",
            MaxResults="PageSize",
            Filter="TaskRunFilterCriteria",
            Sort="TaskRunSortCriteria",
        ),
        "TaskRunFilterCriteria": _structure(
            TaskRunType="TaskType",
            Status="TaskStatusType",
            StartedBefore="Timestamp",
            StartedAfter="Timestamp",
        ),
        "TaskRunSortCriteria": _structure(
            "Column SortDirection",
            Column="TaskRunSortColumnType",
            SortDirection="SortDirectionType",
        ),
        "GetMLTaskRunsResponse": _structure(TaskRuns="TaskRunList", NextToken="PaginationToken"),
        "TaskRunList": _list("TaskRun"),
        "TaskRun": _structure(**_TASK_RUN),
        "TaskRunProperties": _structure(
            TaskType="TaskType",
            ImportLabelsTaskRunProperties="ImportLabelsTaskRunProperties",
            ExportLabelsTaskRunProperties="ExportLabelsTaskRunProperties",
            LabelingSetGenerationTaskRunProperties="LabelingSetGenerationTaskRunProperties",
            FindMatchesTaskRunProperties="FindMatchesTaskRunProperties",
        ),
        "ImportLabelsTaskRunProperties": _structure(InputS3Path="UriString", Replace="ReplaceBoolean"),
        "ExportLabelsTaskRunProperties": _structure(OutputS3Path="UriString"),
        "LabelingSetGenerationTaskRunProperties": _structure(OutputS3Path="UriString"),
        "FindMatchesTaskRunProperties": _structure(JobId="HashString", JobName="NameString", JobRunId="HashString"),
        "GetMLTaskRunRequest": _structure("TransformId TaskRunId", TransformId="HashString", TaskRunId="HashString"),
        "GetMLTaskRunResponse": _structure(**_TASK_RUN),
        "GetMLTransformRequest": _structure("TransformId", TransformId="HashString"),
        "GetMLTransformResponse": _structure(**_TRANSFORM),
        "MLTransform": _structure(**_TRANSFORM),
        "GetMLTransformsRequest": _structure(**_TRANSFORM_LISTING),
        "GetMLTransformsResponse": _structure("Transforms", Transforms="TransformList", NextToken="PaginationToken"),
        "TransformList": _list("MLTransform"),
        "ListMLTransformsRequest": _structure(**_TRANSFORM_LISTING, Tags="TagsMap"),
        "ListMLTransformsResponse": _structure(
            "TransformIds", TransformIds="TransformIdList", NextToken="PaginationToken"
        ),
        "TransformIdList": _list("HashString"),
        "GetTagsRequest": _structure("ResourceArn", ResourceArn="GlueResourceArn"),
        "GetTagsResponse": _structure(Tags="TagsMap"),
        "TransformFilterCriteria": _structure(
            Name="NameString",
            TransformType="TransformType",
            Status="TransformStatusType",
            GlueVersion="GlueVersionString",
            CreatedBefore="Timestamp",
            CreatedAfter="Timestamp",
            LastModifiedBefore="Timestamp",
            LastModifiedAfter="Timestamp",
            Schema="TransformSchema",
        ),
        "TransformSortCriteria": _structure(
            "Column SortDirection",
            Column="TransformSortColumnType",
            SortDirection="SortDirectionType",
        ),
        "StartMLEvaluationTaskRunRequest": _structure("TransformId", TransformId="HashString"),
        "StartMLEvaluationTaskRunResponse": _structure(TaskRunId="HashString"),
        "StartMLLabelingSetGenerationTaskRunRequest": _structure(
            "TransformId OutputS3Path", TransformId="HashString", OutputS3Path="UriString"
        ),
        "StartMLLabelingSetGenerationTaskRunResponse": _structure(TaskRunId="HashString"),
        "CancelMLTaskRunRequest": _structure("TransformId TaskRunId", TransformId="HashString", TaskRunId="HashString"),
        "CancelMLTaskRunResponse": _structure(
            TransformId="HashString", TaskRunId="HashString", Status="TaskStatusType"
        ),
        "GlueTables": _list("GlueTable", minimum=0, maximum=10),
        "GlueTable": _structure(
            "DatabaseName TableName",
            DatabaseName="NameString",
            TableName="NameString",
            CatalogId="NameString",
            ConnectionName="NameString",
            AdditionalOptions="GlueTableAdditionalOptions",
        ),
        "GlueTableAdditionalOptions": _map("NameString", "DescriptionString", 1, 10),
        "TransformParameters": _structure(
            "TransformType",
            TransformType="TransformType",
            FindMatchesParameters="FindMatchesParameters",
        ),
        "FindMatchesParameters": _structure(
            PrimaryKeyColumnName="ColumnNameString",
            PrecisionRecallTradeoff="GenericBoundedDouble",
            AccuracyCostTradeoff="GenericBoundedDouble",
            EnforceProvidedLabels="NullableBoolean",
        ),
        "EvaluationMetrics": _structure(
            "TransformType", TransformType="TransformType", FindMatchesMetrics="FindMatchesMetrics"
        ),
        "FindMatchesMetrics": _structure(
            AreaUnderPRCurve="GenericBoundedDouble",
            Precision="GenericBoundedDouble",
            Recall="GenericBoundedDouble",
            F1="GenericBoundedDouble",
            ConfusionMatrix="ConfusionMatrix",
            ColumnImportances="ColumnImportanceList",
        ),
        "ConfusionMatrix": _structure(
            NumTruePositives="RecordsCount",
            NumFalsePositives="RecordsCount",
            NumTrueNegatives="RecordsCount",
            NumFalseNegatives="RecordsCount",
        ),
        "ColumnImportanceList": _list("ColumnImportance", minimum=0, maximum=100),
        "ColumnImportance": _structure(ColumnName="NameString", Importance="GenericBoundedDouble"),
        "TransformSchema": _list("SchemaColumn", maximum=100),
        "SchemaColumn": _structure(Name="ColumnNameString", DataType="ColumnTypeString"),
        "TransformEncryption": _structure(
            MlUserDataEncryption="MLUserDataEncryption",
            TaskRunSecurityConfigurationName="NameString",
        ),
        "MLUserDataEncryption": _structure(
            "MlUserDataEncryptionMode",
            MlUserDataEncryptionMode="MLUserDataEncryptionModeString",
            KmsKeyId="NameString",
        ),
        "TagsMap": _map("TagKey", "TagValue", 0, 50),
        "HashString": _string(1, 255, TEXT),
        "NameString": _string(1, 255, TEXT),
        "ColumnNameString": _string(1, 1024, TEXT),
        "ColumnTypeString": _string(0, 131072, TEXT),
        "DescriptionString": _string(0, 2048, TEXT_WITH_LINES),
        "GlueVersionString": _string(1, 255, r"^((\w+\.)+\w+|auto)$"),
        "GlueResourceArn": _string(1, 10240, r"arn:aws(-(cn|us-gov|iso(-[bef])?))?:glue:.*"),
        "TagKey": _string(1, 128),
        "TagValue": _string(0, 256),
        "PaginationToken": _string(),
        "GenericString": _string(),
        "UriString": _string(),
        "RoleString": _string(),
        "TaskType": _string(enum=TASK_TYPES),
        "TaskStatusType": _string(enum=STATUSES),
        "TaskRunSortColumnType": _string(enum=("TASK_RUN_TYPE", "STATUS", "STARTED")),
        "SortDirectionType": _string(enum=("DESCENDING", "ASCENDING")),
        "TransformStatusType": _string(enum=TRANSFORM_STATUSES),
        "TransformType": _string(enum=("FIND_MATCHES",)),
        "TransformSortColumnType": _string(enum=("NAME", "TRANSFORM_TYPE", "STATUS", "CREATED", "LAST_MODIFIED")),
        "WorkerType": _string(enum=WORKER_TYPES),
        "MLUserDataEncryptionModeString": _string(enum=("DISABLED", "SSE-KMS")),
        "PageSize": Shape("integer", minimum=1, maximum=1000),
        "ExecutionTime": Shape("integer"),
        "LabelCount": Shape("integer"),
        "NullableInteger": Shape("integer"),
        "Timeout": Shape("integer", minimum=1),
        "RecordsCount": Shape("long"),
        "NullableDouble": Shape("double"),
        "GenericBoundedDouble": Shape("double", minimum=0.0, maximum=1.0),
        "ReplaceBoolean": Shape("boolean"),
        "NullableBoolean": Shape("boolean"),
        "Timestamp": Shape("timestamp"),
    }
)

_ERRORS = (
    "EntityNotFoundException",
    "InvalidInputException",
    "OperationTimeoutException",
    "InternalServiceException",
)
_CONCURRENCY = "ConcurrentRunsExceededException"


def _operation(name: str, *more_errors: str) -> Operation:
    return Operation(f"{name}Request", f"{name}Response", _ERRORS + more_errors)


OPERATIONS: MappingProxyType[str, Operation] = MappingProxyType(
    {
        "GetMLTaskRuns": _operation("GetMLTaskRuns"),
        "GetMLTaskRun": _operation("GetMLTaskRun"),
        "GetMLTransform": _operation("GetMLTransform"),
        "GetMLTransforms": _operation("GetMLTransforms"),
        "ListMLTransforms": _operation("ListMLTransforms"),
        "GetTags": _operation("GetTags"),
        "StartMLEvaluationTaskRun": _operation(
            "StartMLEvaluationTaskRun", _CONCURRENCY, "MLTransformNotReadyException"
        ),
        "StartMLLabelingSetGenerationTaskRun": _operation("StartMLLabelingSetGenerationTaskRun", _CONCURRENCY),
        "CancelMLTaskRun": _operation("CancelMLTaskRun"),
    }
)
