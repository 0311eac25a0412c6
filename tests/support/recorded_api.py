"""Recorded answers of the real server (0.5.0) and of the local server, replayed to the API client's HTTP library."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import vcr

from pandaprobe_otel.local import LocalServer

CASSETTES = Path(__file__).parents[1] / "api" / "cassettes"
LOCAL_CASSETTES = CASSETTES / "local"
LOCAL_LABEL = "# Answers of this library's local server (`pandaprobe-otel local`), not of PandaProbe itself."
RECORDED_AT = "http://127.0.0.1:8100"
LOCAL_PORT = 8123
LOCALLY_RECORDED_AT = f"http://127.0.0.1:{LOCAL_PORT}"
ORGANIZATION = "417823ec-f3f6-4496-b6f2-e2d46ecc4342"
PROJECT = "9c7839bf-b496-4b08-a72a-fbedb9b99d9f"
KEY = "033bda09-f87a-46ca-85ec-54f2dbfea9ea"
DAY = {"started_after": datetime(2025, 3, 4, tzinfo=UTC), "started_before": datetime(2025, 3, 5, tzinfo=UTC)}
SPAN_TIME = datetime(2025, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)
"""The start of every recorded span."""


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
    with _recorder().use_cassette(str(CASSETTES / f"{name}.yaml"), allow_playback_repeats=False) as cassette:
        yield
    assert cassette.all_played or not all_played, f"{name}: {cassette.play_count} of {len(cassette)} were requested"


@contextmanager
def recorded_locally(name: str) -> Generator[None]:
    """Answer from recordings of the local server, for requests that were not recorded with the real server.

    With the environment variable `RECORD_LOCALLY`, the tests record these cassettes anew:

        RECORD_LOCALLY=1 pytest tests/api/test_recorded_locally.py
    """
    file = LOCAL_CASSETTES / f"{name}.yaml"
    if "RECORD_LOCALLY" not in os.environ:
        with recorded(f"local/{name}"):
            yield
        return
    recorder = _recorder(
        record_mode="all",
        filter_headers=[("x-api-key", "REDACTED"), ("authorization", "REDACTED")],
        before_record_response=_without_keys,
    )
    file.unlink(missing_ok=True)
    with LocalServer(limit=None, port=LOCAL_PORT), recorder.use_cassette(str(file)):
        yield
    file.write_text(f"{LOCAL_LABEL}\n{file.read_text(encoding='utf-8')}", encoding="utf-8")


def _recorder(**options: Any) -> vcr.VCR:
    matches = ["method", "path", "asks_the_same", "says_the_same"]
    recorder = vcr.VCR(**{"record_mode": "none", "match_on": matches, **options})
    recorder.register_matcher("asks_the_same", _asks_the_same)
    recorder.register_matcher("says_the_same", _says_the_same)
    return recorder


def _without_keys(response: dict[str, Any]) -> dict[str, Any]:
    body = response["body"]["string"]
    kept = re.sub(rb"sk_pp_[0-9a-f]{64}", b"REDACTED", body)
    return {**response, "body": {"string": kept}}


def _asks_the_same(sent: Any, kept: Any) -> None:
    assert _query(sent) == _query(kept)


def _query(request: Any) -> list[tuple[str, str]]:
    # `+00:00` and `Z` are the same zone.
    return [(name, value.replace("+00:00", "Z")) for name, value in request.query]


def _says_the_same(sent: Any, kept: Any) -> None:
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
