"""Makes links to the AWS consoles for a region; None if the region's partition has no public console.

The URL fragments are copied from the consoles. AWS does not document the address of a transform's page, so a transform
gets a link to the Glue console of its region.
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
    return _address(region, "glue/home")


def job_run(region: str, job_name: str | None, job_run_id: str | None) -> str | None:
    """Return the address of a run of a Glue job; None if its name or its run id is unknown."""
    if not job_name or not job_run_id:
        return None
    return _address(region, "gluestudio/home", f"/job/{quote(job_name, safe='')}/run/{quote(job_run_id, safe='')}")


def log_group(region: str, name: str | None) -> str | None:
    """Return the address of a log group of CloudWatch.

    The CloudWatch console quotes the name twice and writes "$" for "%".
    """
    if not name:
        return None
    quoted = quote(quote(name, safe=""), safe="").replace("%", "$")
    return _address(region, "cloudwatch/home", f"logsV2:log-groups/log-group/{quoted}")


def s3(region: str, path: str | None) -> str | None:
    """Return the address of the folder of `s3://bucket/key`; None if `path` has another form."""
    bucket, _, key = (path or "").removeprefix("s3://").partition("/")
    base = _address(region, f"s3/buckets/{quote(bucket, safe='')}")
    if not (path or "").startswith("s3://") or not bucket or base is None:
        return None
    folder = key[: key.rfind("/") + 1]
    return f"{base}&prefix={quote(folder, safe='')}"


def _address(region: str, path: str, fragment: str = "") -> str | None:
    domain = _DOMAINS.get(partition(region))
    if domain is None:
        return None
    quoted = quote(region, safe="")
    return f"https://{quoted}.{domain}/{path}?region={quoted}{fragment and '#' + fragment}"
