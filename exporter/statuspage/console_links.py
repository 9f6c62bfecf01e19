"""Addresses in the AWS consoles, each in its own partition; none where no console is known.

The fragments are those that the consoles themselves use; AWS documents no page of a single transform, so a transform
is looked up on the Glue console of its region.
"""

from urllib.parse import quote

from exporter.model.transform import partition

_DOMAINS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def glue(region: str) -> str | None:
    """Return the address of the Glue console."""
    return _page(region, "glue/home")


def job_run(region: str, job_name: str | None, job_run_id: str | None) -> str | None:
    """Return the address of a run of a Glue job."""
    if not job_name or not job_run_id:
        return None
    return _page(region, "gluestudio/home", f"/job/{quote(job_name, safe='')}/run/{quote(job_run_id, safe='')}")


def log_group(region: str, name: str | None) -> str | None:
    """Return the address of a log group of CloudWatch, whose fragments are escaped twice, with $ for %."""
    if not name:
        return None
    return _page(region, "cloudwatch/home", f"logsV2:log-groups/log-group/{_twice(name)}")


def s3(region: str, path: str | None) -> str | None:
    """Return the address of what lies at `s3://bucket/key`, or of its folder."""
    bucket, _, key = (path or "").removeprefix("s3://").partition("/")
    base = _page(region, f"s3/buckets/{quote(bucket, safe='')}")
    if not (path or "").startswith("s3://") or not bucket or base is None:
        return None
    folder = key[: key.rfind("/") + 1]
    return f"{base}&prefix={quote(folder, safe='')}"


def _page(region: str, path: str, fragment: str = "") -> str | None:
    domain = _DOMAINS.get(partition(region))
    if domain is None:
        return None
    its = quote(region, safe="")
    return f"https://{its}.{domain}/{path}?region={its}{fragment and '#' + fragment}"


def _twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="").replace("%", "$")
