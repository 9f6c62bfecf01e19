"""The part of the Glue API (version 2017-03-31) that the simulator implements.

Shapes and constraints come from the service model in botocore, which AWS generates from the definition of the API.
"""

from functools import cache

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

OPERATIONS = (
    "GetMLTaskRuns",
    "GetMLTaskRun",
    "GetMLTransform",
    "GetMLTransforms",
    "ListMLTransforms",
    "GetTags",
    "StartMLEvaluationTaskRun",
    "StartMLLabelingSetGenerationTaskRun",
    "CancelMLTaskRun",
)
"""The operations that the simulator answers."""

# The next lists are constants, although the service model has them too. Runs store a value as its index in the list, so
# a value that a later botocore adds could change the runs that a seed draws.
TASK_TYPES = ("EVALUATION", "LABELING_SET_GENERATION", "IMPORT_LABELS", "EXPORT_LABELS", "FIND_MATCHES")
STATUSES = ("STARTING", "RUNNING", "STOPPING", "STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")
FINAL_STATUSES = ("STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT")


@cache
def service_model() -> ServiceModel:
    """Return botocore's model of Glue. The first call takes about 0.1 s."""
    return ServiceModel(Loader().load_service_model("glue", "service-2"), "glue")


def request_shape(operation: str) -> Shape:
    """Return the shape of an operation's request."""
    return service_model().operation_model(operation).input_shape


def allowed_values(shape_name: str) -> tuple[str, ...]:
    """Return the values that a string shape allows, such as `WorkerType`."""
    return tuple(service_model().shape_for(shape_name).enum)
