"""Rate limits: the time window, and the requests that each limit counts."""

from __future__ import annotations

import httpx
import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.limits import FixedWindows, RateLimitedError

TRACE = {"name": "t", "started_at": "2026-01-02T03:04:05+00:00"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_window_opens_at_the_first_hit_and_is_not_extended_by_refusals() -> None:
    """Three requests pass; later ones are refused until 60 s after the first, and refusals do not extend this time."""
    clock = Clock()
    windows = FixedWindows(monotonic=clock)
    for moment in (0.0, 30.0, 59.0):
        clock.now = 1000.0 + moment
        windows.hit("k", "/traces", 3)
    for moment in (59.1, 59.9):
        clock.now = 1000.0 + moment
        with pytest.raises(RateLimitedError) as refused:
            windows.hit("k", "/traces", 3)
        assert refused.value.retry_after_s == pytest.approx(60.0 - moment)
    clock.now = 1060.0
    windows.hit("k", "/traces", 3)


def test_buckets_are_apart_by_credential_and_path() -> None:
    """Each combination of API key and path has its own window."""
    windows = FixedWindows(monotonic=Clock())
    for credential, path in (("a", "/x"), ("b", "/x"), ("a", "/y")):
        windows.hit(credential, path, 1)
    with pytest.raises(RateLimitedError):
        windows.hit("a", "/x", 1)


def test_closed_windows_are_swept() -> None:
    """Windows that have ended are deleted, so new paths do not fill the memory."""
    clock = Clock()
    windows = FixedWindows(monotonic=clock)
    for number in range(30_000):
        clock.now += 0.01
        windows.hit("k", f"/traces/{number}", 200)
    assert len(windows) <= 20_000


def test_retry_after_tells_when_the_window_opens() -> None:
    """Retry-After is a whole number of seconds; the test above shows that waiting this long is enough."""
    with LocalServer(limit=2) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            statuses = [http.post("/traces", json=TRACE).status_code for _ in range(3)]
            refused = http.post("/traces", json=TRACE)
    assert statuses == [202, 202, 429]
    assert refused.json() == {"error": "Rate limit exceeded: 2 per 1 minute"}
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_limits_can_be_turned_off() -> None:
    """Without a limit no request is refused."""
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            statuses = {http.get("/traces").status_code for _ in range(210)}
    assert statuses == {200}
