"""Both clients against recorded answers of the real server (0.5.0)."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import vcr
import yaml
from pydantic import TypeAdapter

from both_clients import Connect, settled
from endpoints import all_endpoints
from pandaprobe_otel.errors import (
    InsufficientEvidence,
    InvalidRequest,
    ServerError,
)

CASSETTES = Path(__file__).with_name("cassettes")
FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RECORDED_AT = "http://127.0.0.1:8100"


def trace_id(number: int) -> UUID:
    """Return the id of a recorded trace or span."""
    return UUID(f"ca55e77e-0000-4000-8000-{number:012}")


def at(second: int) -> datetime:
    """Return the start of recorded trace number `second`."""
    return datetime(2025, 3, 4, 5, 6, tzinfo=UTC) + timedelta(seconds=second)


@contextmanager
def recorded(name: str, *, all_played: bool = True) -> Generator[None]:
    """Answer requests from a cassette, each once; a request without a recording fails.

    The body of a POST matches if it contains the recorded body: the client also sends values for which the recording
    relied on the server's defaults. With `all_played`, every recorded answer must have been requested at the end.
    """
    recorder = vcr.VCR(record_mode="none", match_on=["method", "path", "same_query", "same_body"])
    recorder.register_matcher("same_query", _same_query)
    recorder.register_matcher("same_body", _same_body)
    with recorder.use_cassette(str(CASSETTES / f"{name}.yaml"), allow_playback_repeats=False) as cassette:
        yield
    assert cassette.all_played or not all_played, f"{name}: {cassette.play_count} of {len(cassette)} were requested"


def _same_query(sent: Any, kept: Any) -> None:
    assert _query(sent) == _query(kept)


def _query(request: Any) -> list[tuple[str, str]]:
    # `+00:00` and `Z` are the same zone.
    return [(name, value.replace("+00:00", "Z")) for name, value in request.query]


def _same_body(sent: Any, kept: Any) -> None:
    ours, theirs = _json(sent.body), _json(kept.body)
    assert _contains(ours, theirs) if sent.method == "POST" else ours == theirs


def _json(body: bytes | str | None) -> Any:
    return json.loads(body) if body else None


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _contains(whole[name], value) for name, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("file", sorted(CASSETTES.glob("*.yaml")), ids=lambda file: str(file.stem))
def test_every_recorded_answer_is_read_and_no_recording_has_a_key(file: Path) -> None:
    """The models of the client accept every answer of the real server; recordings have a placeholder for keys."""
    routes = [(each.method, re.sub(r"\{\w+\}", "[^/]+", each.path), each.answer) for each in all_endpoints()]
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"sk_pp_[0-9a-f]{16}", text)
    for interaction in yaml.load(text, FAST_LOADER)["interactions"]:
        request, response = interaction["request"], interaction["response"]
        for name in ("x-api-key", "authorization"):
            assert request["headers"].get(name, ["REDACTED"]) == ["REDACTED"]
        path = request["uri"].removeprefix(RECORDED_AT).partition("?")[0]
        kinds = [kind for method, route, kind in routes if method == request["method"] and re.fullmatch(route, path)]
        body = response["body"]["string"]
        if kinds and body and response["status"]["code"] < 300:
            assert any(_fits(kind, body) for kind in kinds), path


def _fits(kind: Any, body: str | bytes) -> bool:
    try:
        TypeAdapter(kind).validate_json(body)
    except ValueError:
        return False
    return True


async def test_traces_are_filtered_and_sorted(connect: Connect) -> None:
    """Filters are sent as the server reads them: repeated tags, encoded time zone offsets, enumerations."""
    client = connect(RECORDED_AT)
    with recorded("traces_list_filters"):
        found = [
            await client.traces.list(**filters)
            for filters in (
                {"session_id": "chat-1"},
                {"user_id": "u1"},
                {"status": "ERROR"},
                {"tags": ["prod", "dev"]},
                {"name": "OTHER"},
                {"started_after": at(2), "started_before": at(3)},
                {"sort_by": "name", "sort_order": "asc"},
            )
        ]

    numbers = [[item.trace_id.int & 0xF for item in page.items] for page in found]
    assert numbers == [[1], [1], [2], [2, 1], [3], [2], [3, 1, 2]]


async def test_a_score_for_a_trace_that_is_not_there_explains_the_servers_failure(connect: Connect) -> None:
    """Without a wait, a score for a missing trace raises the server's 500, with an explanation."""
    client = connect(RECORDED_AT)
    with recorded("scores_errors", all_played=False), pytest.raises(ServerError, match="not visible yet") as failed:
        await client.score(trace_id(98), "q", 0.5, wait=0)

    assert failed.value.status == 500


async def test_the_official_wait_wants_a_number_for_each_pair(connect: Connect) -> None:
    """The `wait` of the official SDK raises unless every pair of trace and metric has a number."""
    client = connect(RECORDED_AT)
    with recorded("eval_run_failures_retry", all_played=False):
        run = await client.evaluations.create([trace_id(1)], ["confidence"], name="r1", model=None)
        with pytest.raises(InsufficientEvidence, match=r"no number for 2 of 2 pairs .* confidence of ca55e77e"):
            await client.evaluations.wait(run.id, trace_ids=[trace_id(1), trace_id(2)], metrics=["confidence"])
        with pytest.raises(InvalidRequest, match="needs the traces and the metrics"):
            await client.evaluations.wait(run.id, trace_ids=[], metrics=["confidence"])


async def test_a_failed_metric_of_a_run_is_tried_again(connect: Connect) -> None:
    """A COMPLETED run with a failed metric is retried, and then has nothing left to retry."""
    client = connect(RECORDED_AT)
    with recorded("eval_run_failures_retry"):
        first_state = await settled(
            client.evaluations.trace_runs.create_batch(trace_ids=[trace_id(1)], metrics=["confidence"], name="r1")
        )
        first = await client.evaluations.get(first_state.id)
        result = await settled(first.wait())
        await client.traces.update(trace_id(1), input="fine")
        second = await settled(first.retry_failed())
        repeated = await settled(second.wait())
        with pytest.raises(InvalidRequest, match="No failed scores to retry"):
            await settled(second.retry_failed())

    assert (result.run.status, result.ok, len(result.failed)) == ("COMPLETED", False, 1)
    assert "LLM call to openai/fake-judge failed" in str(result.failed[0].reason)
    assert (repeated.ok, repeated.values("confidence"), repeated.missing) == (True, (0.95,), ())


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
            await client.traces.list()
        await client.traces.delete(trace_id(8))

    assert (failed.value.status, failed.value.detail) == (500, "Internal Server Error")
    assert "token counts that are not integers" in str(failed.value)
