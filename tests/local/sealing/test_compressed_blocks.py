"""Compressed blocks: payloads are restored exactly, and repeated content takes little space."""

from __future__ import annotations

import json
from uuid import UUID

import httpx
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.payloads import encode
from pandaprobe_otel.local.sealing.compressed_blocks import packed, unpacked

TEXT = st.text(max_size=80) | st.sampled_from(["a" * 60, 'say "hi"\\ ' * 8, "0", "\x00", "\x000\x00"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.uuids().map(str), st.tuples(JSON.map(encode), JSON.map(encode)), max_size=6))
def test_payloads_come_back_as_they_are(payloads: dict[str, tuple[str | None, str | None]]) -> None:
    """Every JSON text is restored character by character."""
    assert dict(unpacked(packed(payloads))) == payloads


def test_a_conversation_that_repeats_itself_is_stored_once() -> None:
    """Ten model calls, each with the whole conversation so far, take about the space of the last one."""
    said = [json.dumps({"number": number, "text": f"{number} {hash(str(number))}" * 12}) for number in range(10)]
    calls = {str(number): (json.dumps(said[: number + 1]), None) for number in range(10)}

    assert len(packed(calls)) < 1.5 * len(packed({"9": calls["9"]}))


def test_a_sealed_trace_is_answered_as_before() -> None:
    """The API returns the same bytes before and after sealing, and after a change of a sealed trace."""
    trace, span = UUID(int=1), UUID(int=2)
    odd = {"number": 1.0, "large": 10**30, "text": 'é\u2028 \\ " ' * 20, "deep": [[["x" * 100]]], "none": None}
    body = {"trace_id": str(trace), "name": "odd", "started_at": "2026-01-01T00:00:00Z", "input": odd}
    spans = [{"span_id": str(UUID(int=2 + at)), "name": "s", "started_at": body["started_at"]} for at in range(3)]
    with LocalServer() as server, httpx.Client(base_url=server.url, headers={"X-Project-Name": "p"}) as http:
        http.headers["X-API-Key"] = server.api_key
        http.post("/traces", json={**body, "spans": [{**each, "input": odd, "output": odd} for each in spans]})
        before = http.get(f"/traces/{trace}").content
        server.services.sealer.seal_now()
        assert http.get(f"/traces/{trace}").content == before

        patched = http.patch(f"/traces/{trace}/spans/{span}", json={"output": "other"}).json()
        assert patched["input"] == json.loads(before)["spans"][0]["input"]
        changed = http.get(f"/traces/{trace}").content
        assert changed != before
        server.services.sealer.seal_now()
        assert http.get(f"/traces/{trace}").content == changed
