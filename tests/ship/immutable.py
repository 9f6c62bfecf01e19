"""The fields of the chart's objects that the API server refuses to change, as a file for comparison.

    python -m tests.ship.immutable > tests/ship/immutable.yaml

A changed field in this file means that `helm upgrade` fails for releases that exist, or that an object has a new name.
The changelog then needs a BREAKING line.
"""

import sys
from typing import Any

import yaml

from tests.ship.chart import SCENARIOS, Rendered, scenario, template

MUTABLE = {
    "StatefulSet": {"replicas", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds", "ordinals"}
    | {"persistentVolumeClaimRetentionPolicy"},
    "PersistentVolumeClaim": {"resources", "volumeAttributesClassName"},
    "Service": {"type", "selector", "ports", "ipFamilyPolicy", "ipFamilies", "publishNotReadyAddresses"},
}
"""The fields of `spec` that can change, as the validation of Kubernetes has them for an update of these kinds."""


def immutable(rendered: Rendered) -> dict[str, Any]:
    """Return the name and the immutable fields of each object of the three kinds, by kind and name."""
    return {
        f"{item['kind']} {item['metadata']['name']}": {
            key: value for key, value in item["spec"].items() if key not in MUTABLE[item["kind"]]
        }
        for item in rendered.objects
        if item["kind"] in MUTABLE
    }


if __name__ == "__main__":
    yaml.safe_dump({name: immutable(template(scenario(name))) for name in SCENARIOS}, sys.stdout)
