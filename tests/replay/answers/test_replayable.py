"""`init(replayable=True)`: details of an answer that messages do not contain are kept in its span."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import anthropic
import pytest

from pandaprobe_otel.mapping import MappingOptions, map_trace, map_views
from pandaprobe_otel.mapping.sdk_span import read_span
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel.replay.answers.protocols import MESSAGES
from pandaprobe_otel.replay.answers.rebuild import rebuilt
from pandaprobe_otel_integrations._replayable import MAX_CHARS
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import SpanRecorder

BLOCKS: Final[list[dict[str, Any]]] = [
    {"type": "text", "text": "First a word."},
    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
    {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"number": "A-17"}},
]
ANSWER: Final[dict[str, Any]] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": BLOCKS,
    "stop_reason": "stop_sequence",
    "stop_sequence": "STOP",
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
ASKED: Final[dict[str, Any]] = {"model": "m-1", "max_tokens": 9, "messages": [{"role": "user", "content": "Where?"}]}


@pytest.fixture
def replayable(recorder: SpanRecorder) -> Iterator[SpanRecorder]:
    """Instrument Anthropic's client with everything that is needed to rebuild an answer."""
    uninstrument("anthropic")  # another test of this process may have left it instrumented
    instrument("anthropic", tracer_provider=recorder.provider, replayable=True)
    yield recorder
    uninstrument("anthropic")


def _ask(server: ProviderServer, *, stream: bool) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="secret-key", max_retries=0) as client:
        if stream:
            with client.messages.stream(**ASKED, thinking={"type": "disabled"}) as streamed:
                streamed.get_final_message()
        else:
            client.messages.create(**ASKED, thinking={"type": "disabled"})


def _chunks() -> list[bytes]:
    return list(MESSAGES.chunks(ANSWER))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_an_answer_is_rebuilt_as_it_was(stream: bool, server: ProviderServer, replayable: SpanRecorder) -> None:
    """A rebuilt answer has the same parts, signatures and stop reason; the span lacks only the request's API key."""
    server.replies(Reply(chunks=_chunks(), content_type="text/event-stream") if stream else json_reply(ANSWER))
    _ask(server, stream=stream)
    (span,) = map_trace(replayable.spans)["spans"]
    answer = rebuilt(span, MESSAGES)
    if stream:
        assert answer.body == b"".join(_chunks())
    else:
        assert json.loads(answer.body) == ANSWER
    assert span["metadata"]["replay"]["request"] == {"max_tokens": 9, "thinking": {"type": "disabled"}}
    assert "secret-key" not in json.dumps(span)


def test_capture_and_mask_hold_for_what_is_kept(server: ProviderServer, replayable: SpanRecorder) -> None:
    """`capture` and masks also apply to the replay data, including arguments of tools."""
    server.replies(json_reply(ANSWER))
    _ask(server, stream=False)
    views = [read_span(span) for span in replayable.spans]
    for options in (
        MappingOptions(capture="metadata"),
        MappingOptions(capture_by_kind={"TOOL": "metadata"}),
        MappingOptions(masks=(lambda text: text.replace("A-17", "[masked]"),)),
    ):
        sent = map_views(views, options=options).encoded()
        assert b"A-17" not in sent
    assert b"A-17" in map_views(views).encoded()


def test_too_long_replay_data_leave_a_note(server: ProviderServer, replayable: SpanRecorder) -> None:
    """Replay data over 64 kB is left out with a note, and the answer is rebuilt from its messages."""
    server.replies(json_reply({**ANSWER, "content": [{"type": "text", "text": "word " * MAX_CHARS}]}))
    _ask(server, stream=False)
    (span,) = map_trace(replayable.spans)["spans"]
    assert "more than" in span["metadata"]["replay"]["left_out"]


def test_nothing_is_kept_by_default(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Without the setting, a span has no replay data."""
    server.replies(json_reply(ANSWER))
    uninstrument("anthropic")  # another test of this process may have left it instrumented
    instrument("anthropic", tracer_provider=recorder.provider)
    try:
        _ask(server, stream=False)
    finally:
        uninstrument("anthropic")
    assert "pandaprobe.replay" not in recorder.attributes()
