"""Live events of running spans: the servers that receive them, their content and time, and what overload drops."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import Span

from pandaprobe_otel.assembly.live_events import LiveEvent, LiveQueue
from pandaprobe_otel.assembly.live_spans import LiveSpans
from pandaprobe_otel.assembly.span_filter import SpanFilter
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.mapping.sdk_span import fields_of
from pandaprobe_otel.transport.request_outcome import Answer, Outcome, Request
from spans import CHAT, HTTP, SpanMaker

LOCAL: Final = Answer(status=200, body=b'{"status":"healthy","local":{"live":1,"trace_page":"/ui/traces/{trace_id}"}}')
TAKEN: Final = Answer(status=204)
AGENT: Final = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}
SECRET: Final = "s3cr3t-4711"
LOOK_S: Final = 0.25
"""Seconds after which a check of the worker finds events; a binary fraction, so that sums are exact."""


class Server:
    """A transport with scripted answers, which records the requests."""

    def __init__(self, health: Outcome = LOCAL, takes: Outcome = TAKEN) -> None:
        self.health, self.takes = health, takes
        self.requests: list[Request] = []
        self.is_closed = False

    def send(self, request: Request) -> Outcome:
        """Answer a request."""
        self.is_closed = False
        self.requests.append(request)
        return self.health if request.path == "/health" else self.takes

    def close(self) -> None:
        """Remember the call."""
        self.is_closed = True

    def reset_after_fork(self) -> None:
        """Do nothing."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return all events that were posted."""
        posts = [json.loads(request.body or b"") for request in self.requests if request.path == "/local/live"]
        return [event for post in posts for event in post]

    def spans_shown(self) -> list[tuple[str, str]]:
        """Return the kind and span name of each event about a span."""
        return [(event["k"], event["span"]["name"]) for event in self.events if "span" in event]


class Hanging(Server):
    """A server whose answers wait for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.answers = threading.Event(), threading.Event()

    def send(self, request: Request) -> Outcome:
        """Wait, then answer."""
        self.is_asked.set()
        self.answers.wait(60)
        return super().send(request)


class Run:
    """Spans of an app, a sender of live events, and a clock that the test moves."""

    def __init__(
        self,
        server: Server,
        *,
        spans: Any = "agent",
        options: MappingOptions | None = None,
        sample_rate: float = 1.0,
    ) -> None:
        self.now = 0.0
        self.maker = SpanMaker()
        self.live = LiveSpans(
            transport=lambda: server,
            span_filter=SpanFilter(spans),
            selects_all=spans == "all",
            options=options or MappingOptions(),
            sample_rate=sample_rate,
            timeout_s=1.0,
            monotonic=lambda: self.now,
        )

    def start(self, name: str, parent: Span | None = None, attributes: Mapping[str, str] | None = None) -> Span:
        """Start a span that the worker sees."""
        span = self.maker.start(name, parent, attributes)
        self.live.take([(span, False)])
        return span

    def end(self, span: Span) -> None:
        """End a span that the worker sees."""
        self.live.take([(fields_of(self.maker.end(span)), True)])

    def wait(self, seconds: float = LOOK_S) -> None:
        """Advance the clock, and run the worker's checks until they have nothing to do."""
        self.now += seconds
        for _ in range(3):  # ask the server, post, and post the remaining events
            if (errand := self.live.errand()) is not None:
                errand()
                self.now += LOOK_S


def test_the_worker_does_not_wait_for_a_server_that_hangs() -> None:
    """A server that hangs gets one request at a time, and the worker handles spans meanwhile."""
    server = Hanging()
    run = Run(server)
    run.start("run", attributes=AGENT)
    run.now += LOOK_S
    run.live.send()
    assert server.is_asked.wait(60)
    run.live.send()
    before = list(server.requests)
    server.answers.set()
    while not server.spans_shown():
        run.live.send()

    assert before == []
    assert [request.path for request in server.requests] == ["/health", "/local/live"]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"endpoint": "https://api.pandaprobe.com"}, False),
        ({"endpoint": "https://api.pandaprobe.com", "live": True}, True),
        ({"endpoint": "http://127.0.0.1:8787"}, True),
        ({"endpoint": "http://127.0.0.1:8787", "live": False}, False),
        ({"endpoint": "http://127.0.0.1:8787", "local": "traces.jsonl"}, False),
        ({"endpoint": "http://127.0.0.1:8787", "spans": lambda span: True}, False),
    ],
)
def test_the_settings_decide_which_servers_get_events(settings: dict[str, Any], shown: bool) -> None:
    """Without `live`, only a server on this machine receives live events."""
    assert Config.resolve({"api_key": "sk_pp_1", **settings}, environ={}).shows_running_spans is shown


def test_spans_that_may_be_filtered_wait_for_their_end() -> None:
    """Filtered spans make no events; a span that may be filtered has only an end event; children move up."""
    server = Server()
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    step, request = run.start("step", root), run.start("GET", root, HTTP)
    chat = run.start("chat m", request, CHAT)
    run.wait()
    before = server.spans_shown()
    for span in (chat, request, step):
        run.end(span)
    run.wait()

    assert before == [("b", "run"), ("b", "chat m")]
    assert server.spans_shown()[2:] == [("e", "step"), ("e", "chat m")]
    ids = {event["span"]["name"]: event["span"] for event in server.events}
    assert ids["chat m"]["parent_span_id"] == ids["run"]["span_id"] == server.events[1]["span"]["parent_span_id"]


@pytest.mark.parametrize(("spans", "sample_rate", "events"), [("agent", 1.0, 0), ("all", 1.0, 2), ("all", 0.0, 0)])
def test_a_trace_that_is_not_sent_makes_no_events(spans: str, sample_rate: float, events: int) -> None:
    """A trace without GenAI spans, or one that sampling leaves out, makes no live events."""
    server = Server()
    run = Run(server, spans=spans, sample_rate=sample_rate)
    root = run.start("GET /", attributes=HTTP)
    run.start("SELECT", root, {"db.system.name": "sqlite"})
    run.wait()

    assert len(server.spans_shown()) == events


@pytest.mark.parametrize(
    "options",
    [
        MappingOptions(capture="metadata"),
        MappingOptions(capture="off"),
        MappingOptions(masks=(lambda text: text.replace(SECRET, "***"),)),
    ],
    ids=["metadata", "off", "mask"],
)
def test_capture_and_mask_apply_to_live_events(options: MappingOptions) -> None:
    """`capture` and `mask` apply to all live events."""
    server = Server()
    run = Run(server, options=options)
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": SECRET}]}])
    chat = run.start("chat m", attributes={**CHAT, "gen_ai.input.messages": messages})
    run.wait()
    chat.set_attribute("gen_ai.output.messages", messages)
    run.end(chat)
    run.wait()

    assert [kind for kind, _ in server.spans_shown()] == ["b", "e"]
    assert SECRET not in json.dumps(server.events)


def test_long_content_is_a_preview() -> None:
    """Content in live events is cut after four kilobytes."""
    server = Server()
    run = Run(server)
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "x" * 100_000}]}])
    run.start("chat m", attributes={**CHAT, "gen_ai.input.messages": messages})
    run.wait()

    [request] = [request for request in server.requests if request.path == "/local/live"]
    assert 1_000 < len(request.body or b"") < 6_000


def event(number: int, kind: Any = "b", text: str = "") -> LiveEvent:
    """Return an event of the span with this number."""
    return LiveEvent.of_span(kind, "t", {"span_id": str(number), "input": text})


def kinds_of(queue: LiveQueue) -> list[tuple[str, int]]:
    """Return the kinds of events in a queue with their counts."""
    counts: dict[str, int] = {}
    while (body := queue.take()) != b"[]":
        for each in json.loads(body):
            counts[each["k"]] = counts.get(each["k"], 0) + 1
    return sorted(counts.items())


def test_overload_in_bytes_drops_content_first() -> None:
    """A queue over its byte bound drops content but keeps every event, so that the tree stays complete."""
    queue = LiveQueue()
    for number in range(100):
        queue.add(event(number, "e", "x" * 100_000))

    assert kinds_of(queue) == [("e", 100), ("i", 1)]
