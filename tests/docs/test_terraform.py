"""The page about Terraform agrees with `iam-policy` and with the chart."""

import re
from typing import Any

import pytest

from exporter.cli.iam.grants import grants_of
from exporter.cli.iam.output import as_terraform
from exporter.config.settings import load_config
from tests.ship.chart import template
from tests.support import ROOT

REPLACED = {
    r"yamldecode\(.*?\)\)": '{ region = "eu-west-1", transforms = ["tfm-a"] }',
    r"var\.\w+": '"watcher"',
    r"aws_iam_role\.\w+\.arn": '"arn"',
}
"""References in the values of the chart, and the values that they have in this test."""


@pytest.mark.slow
def test_the_page_about_terraform_installs_the_chart() -> None:
    """The HCL of the page can be parsed, refers only to what `iam-policy` prints, and its values suit the chart."""
    hcl2 = pytest.importorskip("hcl2")
    page = (ROOT / "docs/terraform.md").read_text(encoding="utf-8")
    config = "region: eu-west-1\ntransforms: [tfm-a]"
    shown = re.findall(r"^```hcl title=(\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in shown] == ["irsa", "pod-identity"]
    for kind, text in shown:
        printed = as_terraform(grants_of(load_config(config, source="test", environ={}), kind))
        assert hcl2.loads(f"{printed}\n{text}")
        declared = set(re.findall(r'^variable "(\w+)"', f"{printed}\n{text}", re.MULTILINE))
        assert set(re.findall(r"\bvar\.(\w+)", text)) <= declared
        roles = set(re.findall(r'^resource "aws_iam_role" "(\w+)"', printed, re.MULTILINE))
        assert set(re.findall(r"\baws_iam_role\.(\w+)", text)) == roles
        (values,) = re.findall(r"yamlencode\((\{.*?\n  \})\)", text, re.DOTALL)
        for reference, value in REPLACED.items():
            values = re.sub(reference, value, values)
        account = template(plain(hcl2.loads(f"values = {values}\n")["values"])).one("ServiceAccount")["metadata"]
        assert account["name"] == "watcher"
        assert account.get("annotations") == ({"eks.amazonaws.com/role-arn": "arn"} if kind == "irsa" else None)


def plain(value: Any) -> Any:
    """Return a value of python-hcl2 without the quotes that it keeps around texts and keys."""
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.strip('"') if isinstance(value, str) else value
