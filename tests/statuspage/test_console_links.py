import pytest

from exporter.statuspage import console_links


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_links_use_the_console_of_the_partition(region: str, domain: str) -> None:
    """Links to Glue, CloudWatch and S3 use the console domain of the region's partition."""
    assert console_links.glue(region) == f"https://{domain}/glue/home?region={region}"
    assert console_links.log_group(region, "/aws-glue/ml") == (
        f"https://{domain}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/$252Faws-glue$252Fml"
    )
    assert console_links.job_run(region, "a b", "jr_1") == (
        f"https://{domain}/gluestudio/home?region={region}#/job/a%20b/run/jr_1"
    )
    assert (
        console_links.s3(region, "s3://bucket/a/b.csv")
        == f"https://{domain}/s3/buckets/bucket?region={region}&prefix=a%2F"
    )


def test_unknown_addresses_give_no_link() -> None:
    """If the public console, the path, the name or the run id is missing, the function returns no link."""
    assert console_links.glue("us-iso-east-1") is None
    assert console_links.s3("us-iso-east-1", "s3://bucket/a") is None
    assert console_links.s3("eu-west-1", "javascript:alert(1)") is None
    assert console_links.log_group("eu-west-1", None) is None
    assert console_links.job_run("eu-west-1", "a", None) is None
