"""Live events of running spans: the servers that receive them, their content and time, and what overload drops."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import Span

from pandaprobe_otel.assembly.live_events import MOST_EVENTS, MOST_IN_POST, LiveEvent, LiveQueue
from pandaprobe_otel.assembly.live_spans import LiveSpans, live_spans
from pandaprobe_otel.assembly.span_filter import SpanFilter
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping.sdk_span import fields_of
from pandaprobe_otel.process import open_streams
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request
from spans import CHAT, HTTP, SpanMaker
from strict_pandaprobe import StrictPandaProbe
from waiting import wait_until

LOCAL: Final = Answer(status=200, body=b'{"status":"healthy","local":{"live":1,"trace_page":"/ui/traces/{trace_id}"}}')
HOSTED: Final = Answer(status=200, body=b'{"status":"healthy","version":"0.5.0"}')
TAKEN: Final = Answer(status=204)
GONE: Final = NoAnswer(reason="refused", may_have_arrived=False)
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

    def told(self) -> list[tuple[str, str]]:
        """Return the kind and span name of each event about a span."""
        return [(event["k"], event["span"]["name"]) for event in self.events if "span" in event]


class Hanging(Server):
    """A server whose answers wait for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = threading.Event(), threading.Event()

    def send(self, request: Request) -> Outcome:
        """Wait, then answer."""
        self.asked.set()
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
    assert server.asked.wait(60)
    run.live.send()
    before = list(server.requests)
    server.answers.set()
    while not server.told():
        run.live.send()

    assert before == []
    assert [request.path for request in server.requests] == ["/health", "/local/live"]


def test_the_connection_is_closed_if_an_answer_comes_after_the_end() -> None:
    """A request that outlasts its timeout delays the end only by that time, and then closes the connection itself."""
    server = Hanging()
    run = Run(server)
    run.start("run", attributes=AGENT)
    run.now += LOOK_S
    run.live.send()
    assert server.asked.wait(60)
    run.live.close()
    server.answers.set()
    wait_until(lambda: server.requests and server.is_closed)


def test_a_span_is_told_as_it_begins_and_ends() -> None:
    """Begin and end events have the ids of the later trace, and the span's input and output."""
    server = Server()
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    chat = run.start("chat m", root, CHAT)
    run.wait()
    chat.set_attribute("gen_ai.output.messages", '[{"role":"assistant","parts":[{"type":"text","content":"Hi"}]}]')
    run.end(chat)
    run.wait()

    assert server.told() == [("b", "run"), ("b", "chat m"), ("e", "chat m")]
    begin, end = server.events[1], server.events[2]
    context = chat.get_span_context()
    ids = trace_uuid(context.trace_id), span_uuid(context.trace_id, context.span_id)
    assert (begin["trace_id"], begin["span"]["span_id"]) == ids == (end["trace_id"], end["span"]["span_id"])
    assert begin["span"]["parent_span_id"] == server.events[0]["span"]["span_id"]
    assert "ended_at" not in begin["span"]
    assert "Hi" in json.dumps(end["span"]["output"])
    assert [request.path for request in server.requests].count("/health") == 1


def test_a_server_that_is_not_local_is_asked_once_and_told_nothing() -> None:
    """A server that is not a local PandaProbe is asked once and receives no live events."""
    server = Server(health=HOSTED)
    run = Run(server)
    for _ in range(5):
        run.end(run.start("run", attributes=AGENT))
        run.wait(100.0)

    assert [(request.method, request.path) for request in server.requests] == [("GET", "/health")]


def test_the_server_is_asked_at_once_but_told_later() -> None:
    """The first check asks the server, so that no span is kept for a hosted one. Events wait to be sent together."""
    server = Server()
    run = Run(server)
    run.start("run", attributes=AGENT)
    ask_server = run.live.errand()
    assert ask_server is not None
    ask_server()

    assert [request.path for request in server.requests] == ["/health"]
    assert run.live.errand() is None
    run.wait()
    assert server.told() == [("b", "run")]


def test_a_function_that_gives_the_key_is_not_called() -> None:
    """Live spans never call a function that returns the key: it may block, and a local server needs no key."""
    asked: list[str] = []

    def key() -> str:
        asked.append("sk_pp_1")
        return asked[-1]

    now = 0.0
    with StrictPandaProbe() as server:
        config = Config.resolve({"api_key": key, "endpoint": server.url})
        live = live_spans(config, MappingOptions(), timeout_s=5.0, monotonic=lambda: now)
        live.take([(SpanMaker().start("run", None, AGENT), False)])
        now = LOOK_S
        ask_server = live.errand()
        assert ask_server is not None
        ask_server()
        live.close()

    assert [request.path for request in server.log] == ["/health"]
    assert asked == []


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
def test_whom_the_settings_allow_to_ask(settings: dict[str, Any], shown: bool) -> None:
    """Without `live`, only a server on this machine receives live events."""
    assert Config.resolve({"api_key": "sk_pp_1", **settings}, environ={}).shows_running_spans is shown


def test_a_short_trace_tells_nothing() -> None:
    """A trace that is delivered before the first check sends no live events."""
    server = Server()
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    run.end(root)
    run.live.delivered(root.get_span_context().trace_id)
    run.wait()
    run.wait()

    assert [request.path for request in server.requests if request.path == "/local/live"] == []


def test_spans_that_may_be_filtered_wait_for_their_end() -> None:
    """Filtered spans make no events; a span that may be filtered has only an end event; children move up."""
    server = Server()
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    step, request = run.start("step", root), run.start("GET", root, HTTP)
    chat = run.start("chat m", request, CHAT)
    run.wait()
    before = server.told()
    for span in (chat, request, step):
        run.end(span)
    run.wait()

    assert before == [("b", "run"), ("b", "chat m")]
    assert server.told()[2:] == [("e", "step"), ("e", "chat m")]
    ids = {event["span"]["name"]: event["span"] for event in server.events}
    assert ids["chat m"]["parent_span_id"] == ids["run"]["span_id"] == server.events[1]["span"]["parent_span_id"]


@pytest.mark.parametrize(("spans", "sample_rate", "told"), [("agent", 1.0, 0), ("all", 1.0, 2), ("all", 0.0, 0)])
def test_a_trace_that_is_not_sent_is_not_told(spans: str, sample_rate: float, told: int) -> None:
    """A trace without GenAI spans, or one that sampling leaves out, makes no live events."""
    server = Server()
    run = Run(server, spans=spans, sample_rate=sample_rate)
    root = run.start("GET /", attributes=HTTP)
    run.start("SELECT", root, {"db.system.name": "sqlite"})
    run.wait()

    assert len(server.told()) == told


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
    """`capture` and `mask` apply to all live events, even to the text of a stream."""
    server = Server()
    run = Run(server, options=options)
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": SECRET}]}])
    chat = run.start("chat m", attributes={**CHAT, "gen_ai.input.messages": messages})
    stream = Stream(chat, lambda: SECRET)
    open_streams.register(stream)
    run.wait()
    run.wait()
    chat.set_attribute("gen_ai.output.messages", messages)
    run.end(chat)
    run.wait()
    open_streams.remove(stream)

    assert [kind for kind, _ in server.told()] == ["b", "e"]
    assert SECRET not in json.dumps(server.events)


class Stream:
    """A stream that the app reads."""

    def __init__(self, span: Span, read: Callable[[], str]) -> None:
        context = span.get_span_context()
        self._ids = context.trace_id, context.span_id
        self.text_so_far = read

    def span_ids(self) -> tuple[int, int]:
        """Return the ids of the stream's span."""
        return self._ids


def test_the_text_of_a_stream_is_told_as_it_grows() -> None:
    """Each state of a stream's text is one event; repeated states and failed readings make no event."""
    server = Server()
    run = Run(server)
    chat = run.start("chat m", attributes=CHAT)
    run.wait()
    states = ["Sunny", "Sunny", "Sunny and mild"]
    stream = Stream(chat, lambda: states.pop(0))
    open_streams.register(stream)
    while states:
        run.now += LOOK_S
        if (errand := run.live.errand()) is not None:
            errand()
    open_streams.remove(stream)

    texts = [event for event in server.events if event["k"] == "t"]
    assert [event["text"] for event in texts] == ["Sunny", "Sunny and mild"]
    context = chat.get_span_context()
    assert {event["span_id"] for event in texts} == {span_uuid(context.trace_id, context.span_id)}


def test_long_content_is_a_preview() -> None:
    """Content in live events is cut after four kilobytes."""
    server = Server()
    run = Run(server)
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "x" * 100_000}]}])
    run.start("chat m", attributes={**CHAT, "gen_ai.input.messages": messages})
    run.wait()

    [request] = [request for request in server.requests if request.path == "/local/live"]
    assert 1_000 < len(request.body or b"") < 6_000


def test_a_server_that_fails_is_left_alone_for_longer_each_time() -> None:
    """A failing server is retried after 30, then 60 seconds; later, an event marks the view as incomplete."""
    server = Server(takes=GONE)
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    posts: list[float] = []
    for _ in range(500):
        run.end(run.start("chat m", root, CHAT))
        before = len(server.requests)
        run.wait(0.25)
        if len(server.requests) > before:
            posts.append(run.now)
    assert [round(later - sooner) for sooner, later in itertools.pairwise(posts)][:2] == [30, 60]
    server.takes = TAKEN
    run.now += 600.0
    run.end(run.start("chat m", root, CHAT))
    run.wait()
    run.end(root)
    run.wait()

    assert server.events[-1]["span"]["name"] == "run"
    assert {"k": "i", "trace_id": trace_uuid(root.get_span_context().trace_id)} in server.events


def test_a_server_that_is_not_there_yet_is_asked_again() -> None:
    """A server that starts after the app is asked again, and receives later events."""
    server = Server(health=GONE)
    run = Run(server)
    root = run.start("run", attributes=AGENT)
    run.wait()
    server.health = LOCAL
    run.now += 60.0
    run.end(root)
    run.wait()

    assert server.told() == [("e", "run")]


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


def test_overload_drops_begins_then_the_oldest_ends_and_says_so() -> None:
    """A full queue drops begin events first, then the oldest ends, and adds a marker that events are missing."""
    queue = LiveQueue()
    for number in range(MOST_EVENTS - 5):
        queue.add(event(number, "e"))
    for number in range(5):
        queue.add(event(number, "b"))
    assert len(queue) == MOST_EVENTS
    queue.add(event(0, "e"))
    assert len(queue) == MOST_EVENTS - 4
    for number in range(6):
        queue.add(event(number, "e"))

    assert kinds_of(queue) == [("e", MOST_EVENTS), ("i", 1)]


def test_overload_in_bytes_drops_content_first() -> None:
    """A queue over its byte bound drops content but keeps every event, so that the tree stays complete."""
    queue = LiveQueue()
    for number in range(100):
        queue.add(event(number, "e", "x" * 100_000))

    assert kinds_of(queue) == [("e", 100), ("i", 1)]


def test_a_post_is_bounded() -> None:
    """A post is bounded in events and in bytes."""
    queue = LiveQueue()
    for number in range(1_000):
        queue.add(event(number, "e"))
    assert len(json.loads(queue.take())) == MOST_IN_POST
    queue = LiveQueue()
    for number in range(30):
        queue.add(event(number, "e", "x" * 100_000))
    assert len(json.loads(queue.take())) == 2
