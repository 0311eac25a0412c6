"""Drafts of open traces: what the next process sends of them after a crash, and what a local server shows meanwhile."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import Span

from pandaprobe_otel.assembly.assembler import Assembler, Timing
from pandaprobe_otel.assembly.drafts import Drafts, LiveView
from pandaprobe_otel.assembly.encoder import SegmentEncoder, SpanFilter
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.mapping.sdk_span import fields_of
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from spans import CHAT, HTTP, SpanMaker
from spools import Content, Run

AGENT: Final = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop", "session.id": "s1"}
SECRET: Final = "s3cr3t-4711"
MESSAGES: Final = json.dumps([{"role": "user", "parts": [{"type": "text", "content": SECRET}]}])
LOCAL: Final = Answer(status=200, body=b'{"status":"healthy","local":{"live":1,"trace_page":"/ui/traces/{trace_id}"}}')


class App:
    """An app without threads: its spans, its drafts, and its spool, if it has one."""

    def __init__(
        self,
        folder: Path | None = None,
        live: LiveView | None = None,
        *,
        spans: Any = "agent",
        options: MappingOptions | None = None,
        sample_rate: float = 1.0,
        counts_starts: bool = True,
    ) -> None:
        self.maker = SpanMaker()
        self.held: list[Span] = []
        """Spans that the app still refers to."""
        self.run = None if folder is None else Run(folder)
        self.folder = folder
        self.assembler = Assembler(timing=Timing(), counts_starts=counts_starts, max_bytes=1 << 22)
        self.counts_starts = counts_starts

        self.faults = 0
        """Times that the encoder of the drafts cannot be made."""

        def encoder() -> SegmentEncoder:
            self.faults -= 1
            if self.faults >= 0:
                raise RuntimeError("a fault")
            return SegmentEncoder(
                span_filter=SpanFilter(spans),
                options=options or MappingOptions(),
                ledger=Ledger(),
                sample_rate=sample_rate,
            )

        self.encoder = encoder()
        self.drafts = Drafts(encoder=encoder, write=None if self.run is None else self.run.outbox.save, live=live)
        self.now = 0.0

    def start(self, name: str, parent: Span | None = None, attributes: Mapping[str, str] | None = None) -> Span:
        """Start a span."""
        return self.started(self.maker.start(name, parent, attributes))

    def started(self, span: Span) -> Span:
        """See the start of a span."""
        self.held.append(span)
        if self.counts_starts:
            self.assembler.started(span, self.now)
        return span

    def end(self, *spans: Span) -> None:
        """End spans, and make the drafts."""
        for span in spans:
            self.assembler.ended(fields_of(self.maker.end(span)), self.now)
        self.look()

    def look(self) -> None:
        """Make the drafts."""
        self.drafts.take(self.assembler.drafts(self.assembler.changed, shows_all=self.drafts.shows_all))

    def wait(self, seconds: float) -> list[Parcel]:
        """Let time pass; return the requests of the segments that are due then, which are on disk."""
        self.now += seconds
        changed, taken = self.assembler.changed, list[Parcel]()
        for segment in self.assembler.due(self.now):
            was_running = segment.memory.running
            requests = self.encoder.encode(segment)
            taken += requests
            if self.run is not None:
                self.run.outbox.save(self.drafts.replaced(segment, was_running=was_running))
        self.drafts.take(self.assembler.drafts(changed, shows_all=self.drafts.shows_all))
        return taken

    def after_death(self) -> list[Content]:
        """Return what the next process sends of this one's open traces."""
        assert self.run is not None
        assert self.folder is not None
        self.run.die()
        return Run(self.folder).contents()


def spans_of(content: Content) -> dict[str, dict[str, Any]]:
    """Return the spans of a request by name."""
    return {span["name"]: span for span in json.loads(b"[%b]" % content.spans)}


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Return an app with a spool."""
    return App(tmp_path)


def test_an_open_trace_becomes_one_whole_trace_with_an_error(app: App) -> None:
    """All ended spans arrive once in one request; the open root ends with the last known span, as an error."""
    root = app.start("agent", attributes={**AGENT, "gen_ai.input.messages": MESSAGES})
    for name in ("first", "second"):
        app.end(app.start(name, root, CHAT))
    root.set_attribute("user.id", "u1")
    app.end(app.start("third", root, CHAT))
    (request,) = app.after_death()

    spans, fields = spans_of(request), json.loads(request.fields)
    assert request.step is Step.CREATE
    assert (request.is_error, request.span_count, sorted(spans)) == (True, 4, ["agent", "first", "second", "third"])
    assert (spans["agent"]["status"], spans["agent"]["error"]) == ("ERROR", "process died")
    assert spans["agent"]["ended_at"] == spans["third"]["ended_at"] == fields["ended_at"]
    assert (fields["name"], fields["status"], fields["session_id"]) == ("agent", "ERROR", "s1")
    assert fields["metadata"]["pandaprobe_otel.incomplete"] == "process died"
    assert SECRET in json.dumps(fields["input"])


def test_a_trace_that_had_ended_is_not_called_incomplete(app: App) -> None:
    """A trace whose spans had all ended is not marked incomplete, although the process died before sending it."""
    root = app.start("agent", attributes=AGENT)
    app.end(app.start("chat", root, CHAT))
    root.set_attribute("gen_ai.output.messages", MESSAGES)
    app.end(root)
    (request,) = app.after_death()

    fields = json.loads(request.fields)
    assert (fields["status"], spans_of(request)["agent"]["status"]) == ("COMPLETED", "OK")
    assert SECRET in json.dumps(fields["output"])
    assert "pandaprobe_otel.incomplete" not in fields["metadata"]


@pytest.mark.parametrize("has_root", [False, True])
def test_without_starts_a_trace_is_incomplete_until_its_root_arrives(tmp_path: Path, has_root: bool) -> None:
    """Behind an exporter, which sees only ends, the root decides; it also names the trace."""
    app = App(tmp_path, counts_starts=False)
    root = app.start("agent", attributes=AGENT)
    app.end(app.start("chat", root, CHAT))
    if has_root:
        app.end(root)
    (request,) = app.after_death()

    fields = json.loads(request.fields)
    assert (fields["name"], fields["status"]) == (("agent", "COMPLETED") if has_root else ("chat", "ERROR"))


def test_a_running_trace_is_finished_as_an_error(app: App) -> None:
    """A trace that was posted as running gets its newer spans, and the PATCH that finishes it has status ERROR."""
    root = app.start("agent", attributes=AGENT)
    app.end(app.start("first", root, CHAT))
    second = app.start("second", root, CHAT)
    (create,) = app.wait(301)
    app.end(second)
    append, finish = app.after_death()

    assert json.loads(create.fields)["status"] == "RUNNING"
    assert (append.step, finish.step) == (Step.APPEND, Step.FINISH)
    assert {name: span["status"] for name, span in spans_of(append).items()} == {"second": "OK", "agent": "ERROR"}
    fields = json.loads(finish.fields)
    assert fields["status"] == "ERROR"
    assert fields["metadata"]["pandaprobe_otel.incomplete"] == "process died"


def test_late_spans_of_a_posted_trace_are_appended(app: App) -> None:
    """Late spans of a posted trace are appended, since a second create would overwrite the first."""
    root = app.start("agent", attributes=AGENT)
    late = app.start("late", root, CHAT)
    app.end(root)
    (create,) = app.wait(11)
    app.end(late)
    (request,) = app.after_death()

    assert create.step is Step.CREATE
    assert (request.step, request.is_remote, [*spans_of(request)]) == (Step.APPEND, False, ["late"])


def test_spans_below_another_process_are_appended_to_its_trace(app: App) -> None:
    """Spans below another process are appended to that process's trace."""
    entry = app.started(app.maker.start_remote("serve"))
    app.end(app.start("chat", entry, CHAT))
    app.end(app.start("again", entry, CHAT))
    (request,) = app.after_death()

    assert (request.step, request.is_remote) == (Step.APPEND, True)
    fields = json.loads(request.fields)
    assert (fields["name"], fields["status"]) == ("serve", "ERROR")


@pytest.mark.parametrize("wanted", [False, True])
def test_nothing_is_written_of_a_trace_before_its_first_genai_span(app: App, wanted: bool) -> None:
    """A draft has nothing of a trace before its first GenAI span, and then everything that is sent of a trace."""
    root = app.start("POST /ask", attributes=HTTP)
    app.end(app.start("step", root))
    if wanted:
        app.end(app.start("chat", root, CHAT))
    found = [sorted(spans_of(request)) for request in app.after_death()]

    assert found == ([["POST /ask", "chat", "step"]] if wanted else [])


def test_a_disk_that_works_again_gets_the_whole_draft(app: App) -> None:
    """Spans whose draft could not be written are in a later one; damaged parcels are left out."""
    assert app.run is not None
    root = app.start("agent", attributes=AGENT)
    app.end(app.start("first", root, CHAT))
    own = app.run.store.own
    assert own is not None
    own.open().execute("PRAGMA query_only = ON")
    app.end(app.start("second", root, CHAT))
    app.run.now = 2.0
    app.run.look_around()
    app.end(app.start("third", root, CHAT))
    own = app.run.store.own
    assert own is not None
    own.open().execute("UPDATE body SET spans = X'00' WHERE row = (SELECT min(row) FROM body)")
    (request,) = app.after_death()

    assert sorted(spans_of(request)) == ["agent", "first", "second", "third"]


def test_a_draft_whose_begin_is_lost_is_still_a_trace(app: App) -> None:
    """If only later parcels of a draft can be read, they make a trace with the fields that the server needs."""
    assert app.run is not None
    root = app.start("agent", attributes=AGENT)
    app.end(app.start("first", root, CHAT))
    app.end(app.start("second", root, CHAT))
    own = app.run.store.own
    assert own is not None
    own.open().execute("DELETE FROM parcel WHERE row = (SELECT min(row) FROM parcel)")
    (request,) = app.after_death()

    fields = json.loads(request.fields)
    assert (request.step, fields["name"], fields["status"]) == (Step.CREATE, "second", "ERROR")
    assert fields["started_at"] == spans_of(request)["second"]["started_at"]


def test_a_fault_costs_only_the_drafts_of_that_round(app: App) -> None:
    """If a draft cannot be made, the next round makes it."""
    root = app.start("agent", attributes=AGENT)
    app.faults = 1
    for name in ("first", "second"):
        app.end(app.start(name, root, CHAT))
    (request,) = app.after_death()

    assert sorted(spans_of(request)) == ["agent", "first", "second"]


# -- the local server -------------------------------------------------------------------------------------------------


class Server:
    """A transport with scripted answers, which records the requests."""

    def __init__(self, health: Outcome = LOCAL, takes: Outcome | None = None) -> None:
        self.health, self.takes = health, takes or Answer(status=204)
        self.requests: list[Request] = []
        self.now = 0.0
        self.view = LiveView(lambda: self, timeout_s=60.0, monotonic=lambda: self.now)

    def send(self, request: Request) -> Outcome:
        """Answer a request."""
        self.requests.append(request)
        return self.health if request.path == "/health" else self.takes

    def close(self) -> None:
        """Do nothing."""

    def reset_after_fork(self) -> None:
        """Do nothing."""

    def show(self, *drafts: Draft) -> None:
        """Send drafts."""
        self.view.add(drafts)
        self.view.show(self.view.take())

    def drafts(self) -> list[dict[str, Any]]:
        """Return all drafts that were posted, with those that wait."""
        self.view.show(self.view.take())
        posts = [json.loads(request.body or b"") for request in self.requests if request.path == "/local/live"]
        return [draft for post in posts for draft in post]

    def shown(self) -> list[tuple[str, bool]]:
        """Return the name of each posted span, in order, and whether it had ended."""
        spans = [span for draft in self.drafts() for span in draft["spans"]]
        return [(span["name"], "ended_at" in span) for span in spans]


def draft(number: int, project: str = "", size: int = 0) -> Draft:
    """Return a draft of the trace with this number."""
    spans = EncodedSpans.of([b'{"input":"%b"}' % (b"x" * size)])
    parcel = Parcel(step=Step.APPEND, trace_id=str(number), spans=spans, project=project)
    return Draft(trace_id=str(number), parcels=[parcel])


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
def test_the_settings_decide_which_servers_get_drafts(settings: dict[str, Any], shown: bool) -> None:
    """Without `live`, only a server on this machine receives drafts."""
    assert Config.resolve({"api_key": "sk_pp_1", **settings}, environ={}).shows_running_spans is shown


def test_spans_that_may_be_filtered_wait_for_their_end() -> None:
    """Filtered spans are never shown; a span that may be filtered is shown once it has ended; children move up."""
    server = Server()
    app = App(live=server.view)
    root = app.start("run", attributes=AGENT)
    step, request = app.start("step", root), app.start("GET", root, HTTP)
    chat = app.start("chat m", request, CHAT)
    app.look()
    before = server.shown()
    for span in (chat, request, step):
        app.end(span)

    assert before == [("run", False), ("chat m", False)]
    assert server.shown()[2:] == [("chat m", True), ("step", True)]
    run, *chats, _ = [span for draft in server.drafts() for span in draft["spans"]]
    assert [span["parent_span_id"] for span in chats] == [run["span_id"]] * 2


@pytest.mark.parametrize(("spans", "sample_rate", "shown"), [("agent", 1.0, 0), ("all", 1.0, 2), ("all", 0.0, 0)])
def test_a_trace_that_is_not_sent_has_no_draft(spans: str, sample_rate: float, shown: int) -> None:
    """A trace without GenAI spans, or one that sampling leaves out, is not shown."""
    server = Server()
    app = App(live=server.view, spans=spans, sample_rate=sample_rate)
    app.start("SELECT", app.start("GET /", attributes=HTTP), {"db.system.name": "sqlite"})
    app.look()

    assert len(server.shown()) == shown


@pytest.mark.parametrize(
    "options",
    [
        MappingOptions(capture="metadata"),
        MappingOptions(capture="off"),
        MappingOptions(masks=(lambda text: text.replace(SECRET, "***"),)),
    ],
    ids=["metadata", "off", "mask"],
)
def test_capture_and_mask_apply_to_drafts(tmp_path: Path, options: MappingOptions) -> None:
    """`capture` and `mask` apply to everything that is written or shown of open traces."""
    server = Server()
    app = App(tmp_path, server.view, options=options)
    chat = app.start("chat m", app.start("run", attributes=AGENT), {**CHAT, "gen_ai.input.messages": MESSAGES})
    app.look()
    chat.set_attribute("gen_ai.output.messages", MESSAGES)
    app.end(chat)

    assert [name for name, _ in server.shown()] == ["run", "chat m", "chat m"]
    assert SECRET not in json.dumps(server.drafts())
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"chat m" in written
    assert SECRET.encode() not in written


def test_drafts_are_sent_in_requests_of_one_project_and_a_bounded_size() -> None:
    """A request has the drafts of one project, at most 500, and ends with the one that makes it larger than 256 KB."""
    server = Server()
    server.show(draft(0, "a"), draft(1, "a"), draft(2), *(draft(number, size=200_000) for number in range(3, 6)))
    server.show(*(draft(number) for number in range(10, 1000)))

    found = [(request.project, len(json.loads(request.body or b""))) for request in server.requests[1:]]
    assert found == [("a", 2), ("", 3), ("", 1), ("", 500), ("", 490)]


@pytest.mark.parametrize("failure", [Answer(status=500), NoAnswer(reason="hangs", may_have_arrived=True)])
def test_a_server_that_fails_is_left_alone_for_a_while(failure: Outcome) -> None:
    """After a failure, nothing is sent for 30 seconds; then the next draft of an omitted trace says so, once."""
    server = Server(takes=failure)
    server.show(draft(1))
    server.takes = Answer(status=204)
    for server.now in (29.0, 30.0, 31.0):
        server.show(draft(1), draft(2))

    assert len(server.requests) == 4
    found = [(each["trace_id"], each.get("is_incomplete", False)) for each in server.drafts()]
    assert found == [("1", False), ("1", True), ("2", True), ("1", False), ("2", False)]


def test_a_delivered_trace_is_not_shown_any_more() -> None:
    """A draft that waits is dropped when the trace itself is delivered."""
    server = Server()
    server.view.add([draft(1), draft(2), draft(3)])
    server.view.forget("2")

    assert [each["trace_id"] for each in server.drafts()] == ["1", "3"]


def test_a_server_that_is_not_local_gets_no_draft() -> None:
    """Another server is asked once what it is."""
    server = Server(health=Answer(status=200, body=b'{"status":"healthy"}'))
    app = App(live=server.view)
    for name in ("run", "again"):
        app.start(name, attributes=AGENT)
        app.look()
        wanted = app.drafts.show(app.drafts.waiting() or deque())

    assert [request.path for request in server.requests] == ["/health"]
    assert not wanted
