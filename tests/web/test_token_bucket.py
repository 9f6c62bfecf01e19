import pytest

from exporter.web.token_bucket import TokenBucket


def test_a_token_bucket_fills_with_time() -> None:
    """The bucket admits a burst at once, then one request per interval, and after a pause never more than the burst."""
    now = [0.0]
    bucket = TokenBucket(10.0, 2, lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [0, 0, 10.0]
    now[0] = 9.0
    assert bucket.take() == pytest.approx(1.0)
    now[0] = 10.0
    assert [bucket.take(), bucket.take()] == [0, pytest.approx(10.0)]
    now[0] = 1000.0
    assert [bucket.take() for _ in range(3)] == [0, 0, pytest.approx(10.0)]
