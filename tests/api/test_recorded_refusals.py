"""Recorded refusals of the real server, as both clients raise them."""

from __future__ import annotations

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.errors import InvalidRequest, PermissionDenied, QuotaExceeded, RateLimited, ServerError
from recorded_api import RECORDED_AT, at, recorded, trace_id


async def test_an_exhausted_quota(connect: Connect) -> None:
    """A 429 with `detail`, for a quota or a feature of other plans, is not retried, and reads still work."""
    client = connect(RECORDED_AT)
    with recorded("quota", all_played=False):
        with pytest.raises(QuotaExceeded, match=r"traces limit \(100\) for your HOBBY plan"):
            await settled(client.traces.create(trace_id=trace_id(7), name="trace 7", started_at=at(7), ended_at=at(9)))
        with pytest.raises(PermissionDenied, match="Monitoring is not available"):
            await settled(
                client.monitors.create(name="m", target_type="TRACE", metrics=["confidence"], cadence="daily")
            )
        page = await settled(client.traces.list())

    assert page.total == 0


async def test_a_rate_limit_that_outlasts_the_call(connect: Connect) -> None:
    """A 429 with `error` is retried after its wait, and raises RateLimited if the wait exceeds the call's time."""
    client = connect(RECORDED_AT, timeout_s=1.0)
    with (
        recorded("rate_limit_traces"),
        pytest.raises(RateLimited, match="Rate limit exceeded: 100 per") as one,
    ):
        await settled(client.traces.create(trace_id=trace_id(5), name="trace 5", started_at=at(5), ended_at=at(7)))
    with recorded("rate_limit_trace_runs"), pytest.raises(RateLimited, match="Rate limit exceeded: 50 per") as other:
        await settled(client.evaluations.trace_runs.create(metrics=["confidence"]))

    assert [(error.value.status, error.value.retry_after) for error in (one, other)] == [(429, None), (429, None)]


async def test_a_poisoned_project_recovers(connect: Connect) -> None:
    """A non-integer count breaks a project's lists: the client refuses to send it, and can repair the project."""
    client = connect(RECORDED_AT, retries=0)
    with recorded("poisoned_project", all_played=False):
        with pytest.raises(InvalidRequest, match="prompt_tokens and completion_tokens must be integers"):
            await settled(
                client.traces.create(
                    name="trace 8",
                    started_at=at(8),
                    spans=[{"name": "s", "started_at": at(8), "token_usage": {"prompt_tokens": 1.5}}],
                )
            )
        with pytest.raises(ServerError) as failed:
            await settled(client.traces.list())
        await settled(client.traces.delete(trace_id(8)))

    assert (failed.value.status, failed.value.detail) == (500, "Internal Server Error")
    assert "token counts that are not integers" in str(failed.value)
