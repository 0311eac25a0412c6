"""Running traces on the local server: received over HTTP, shown from memory, and replaced by the delivered traces."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry.trace import Tracer, format_trace_id, set_span_in_context

from local_http import http_of, traces_of
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.assembly.assembler import Timing
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from spans import CHAT, provider_with
from strict_pandaprobe import StrictPandaProbe
from waiting import wait_until

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "refund"}
STARTED = "2026-01-02T03:04:05Z"
ENDED = "2026-01-02T03:04:06Z"


@pytest.fixture
def server() -> Generator[LocalServer]:
    """Yield an empty server."""
    with LocalServer(limit=None) as running:
        yield running


@contextmanager
def app(url: str, **settings: Any) -> Iterator[tuple[Tracer, PandaProbeSpanProcessor]]:
    """Yield a tracer that sends spans to a server, and its processor."""
    given = {"endpoint": url, "api_key": "sk_pp_local", "project_name": "shop", "shutdown_timeout_s": 60.0}
    config = Config.resolve({**given, **settings}, environ={})
    # On a busy machine, one second is too short for an answer.
    pipeline = ExportPipeline(config, counts_starts=True, timing=Timing(live_timeout_s=60.0))
    processor = PandaProbeSpanProcessor(pipeline=pipeline)
    with provider_with(processor) as tracer:
        yield tracer, processor


def tree_of(server: LocalServer, trace_id: str) -> list[str]:
    """Return the span names in the tree on a trace's page, or an empty list if the page does not exist."""
    answer = httpx.get(f"{server.url}/ui/traces/{trace_id}", trust_env=False, timeout=60)
    nodes = answer.text.partition('class="nodes"')[2].partition("Where the time went")[0]
    return re.findall(r'class="name">([^<]*)<', nodes) if answer.status_code == 200 else []


def run_of(tracer: Tracer, between: Any = lambda trace_id, step: None) -> str:
    """Make a trace of three spans, call `between` while they run, and return its id."""
    root = tracer.start_span("run", attributes=AGENT)
    trace_id = trace_uuid(int(format_trace_id(root.get_span_context().trace_id), 16))
    below = set_span_in_context(root)
    chat = tracer.start_span("chat m", context=below, attributes=CHAT)
    between(trace_id, 1)
    chat.set_attribute("gen_ai.usage.input_tokens", 7)
    chat.end()
    tracer.start_span("look_up", context=below, attributes={"gen_ai.operation.name": "execute_tool"}).end()
    between(trace_id, 2)
    root.end()
    return trace_id


def test_the_tree_of_a_running_agent_grows_on_its_page(server: LocalServer) -> None:
    """The page shows running spans before anything is stored; after delivery, the stored trace replaces them."""
    seen: list[int] = []

    def look(trace_id: str, step: int) -> None:
        names = ["run", "run", "chat m"] if step == 1 else ["run", "run", "chat m", "look_up"]
        wait_until(lambda: tree_of(server, trace_id) == names, what=f"{names} on the page")
        with http_of(server) as http:
            seen.append(http.get("/ui").text.count("<h2>Running now"))
            assert http.get(f"/traces/{trace_id}").status_code == 404  # until the trace is delivered

    with app(server.url) as (tracer, processor):
        trace_id = run_of(tracer, look)
        assert processor.pipeline.flush(60)

    assert seen == [1, 1]
    assert server.services.live.get(trace_id) is None
    assert tree_of(server, trace_id) == ["run", "run", "chat m", "look_up"]


def test_a_running_trace_shows_no_credentials(server: LocalServer) -> None:
    """The page of a running trace has a marker in place of a key in an error."""
    key = "sk-proj-abcdefghijklmnop1234567890abcdefghij"
    with app(server.url) as (tracer, _):
        root = tracer.start_span("run", attributes=AGENT)
        trace_id = trace_uuid(int(format_trace_id(root.get_span_context().trace_id), 16))
        with (
            pytest.raises(RuntimeError),
            tracer.start_as_current_span("fetch", set_span_in_context(root), attributes=CHAT),
        ):
            raise RuntimeError(f"Authorization: Bearer {key}")

        def page() -> str:
            return httpx.get(f"{server.url}/ui/traces/{trace_id}", trust_env=False, timeout=60).text

        wait_until(lambda: "[scrubbed]" in page())
        assert key not in page()
        root.end()


def test_long_content_is_a_preview(server: LocalServer) -> None:
    """Content of running spans is cut after four kilobytes."""
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "x" * 100_000}]}])
    with app(server.url) as (tracer, _):
        root = tracer.start_span("run", attributes={**AGENT, "gen_ai.input.messages": messages})
        trace_id = trace_uuid(root.get_span_context().trace_id)
        wait_until(lambda: server.services.live.get(trace_id))
        live = server.services.live.get(trace_id)
        root.end()

    assert live is not None
    assert 1_000 < len(json.dumps(live.record()["spans"])) < 6_000


def test_another_pandaprobe_receives_no_live_request() -> None:
    """A PandaProbe server on this machine that is not a local server gets one request to /health and no drafts."""
    with StrictPandaProbe() as hosted:

        def until_known(trace_id: str, step: int) -> None:
            wait_until(lambda: hosted.requests("GET", "/health"))

        with app(hosted.url) as (tracer, processor):
            run_of(tracer, until_known)
            assert processor.pipeline.flush(60)
        requests = [(request.method, request.path) for request in hosted.requests()]

    assert requests == [("GET", "/health"), ("POST", "/traces")]


def test_a_server_that_dies_while_a_trace_runs_costs_the_trace_nothing() -> None:
    """If the server stops while a trace runs, the next server receives the same trace as without a live view."""
    bodies: list[dict[str, Any]] = []
    for live in (False, True):
        first = LocalServer(limit=None).start()
        port = int(first.url.rpartition(":")[2])
        following = LocalServer(port=port, limit=None)

        def die(trace_id: str, step: int, live: bool = live, first: LocalServer = first) -> None:
            if step == 1:
                if live:
                    wait_until(lambda: first.services.live.get(trace_id))
                first.stop()
            else:
                following.start()  # noqa: B023 - called in this iteration

        with app(first.url, live=live) as (tracer, processor):
            trace_id = run_of(tracer, die)
            assert processor.pipeline.flush(60)
        (stored,) = traces_of(following)
        following.stop()
        assert stored["trace_id"] == trace_id
        bodies.append(without_moments(stored))

    assert bodies[0] == bodies[1]


def without_moments(trace: dict[str, Any]) -> dict[str, Any]:
    """Return a trace without ids and times, which differ between runs."""
    text = re.sub(r'"[0-9a-f]{8}-[0-9a-f-]{27}"', '"id"', json.dumps(trace))
    text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', '"time"', text)
    plain: dict[str, Any] = json.loads(re.sub(r'"(latency_ms|time_to_first_token_ms)": [0-9.e-]+', '"ms": 0', text))
    return plain


# -- drafts over HTTP -------------------------------------------------------------------------------------------------


class Sender:
    """A sender of drafts to one project of a server."""

    def __init__(self, server: LocalServer, project: str = "shop") -> None:
        self.http = http_of(server, project)

    def send(self, *drafts: dict[str, Any]) -> None:
        """Send drafts."""
        self.http.post("/local/live", json=drafts).raise_for_status()

    def page(self, trace: int = 1) -> str:
        """Return the page of a running trace, or an empty text."""
        answer = self.http.get(f"/ui/traces/{UUID(int=trace)}")
        return answer.text if answer.status_code == 200 else ""

    def names(self, trace: int = 1) -> list[str]:
        """Return the names of a running trace's spans."""
        nodes = self.page(trace).partition('class="nodes"')[2].partition("Where the time went")[0]
        return list(dict.fromkeys(re.findall(r'class="name">(s\d+)<', nodes)))


@pytest.fixture
def sender(server: LocalServer) -> Generator[Sender]:
    """Yield a sender of the project `shop`."""
    made = Sender(server)
    yield made
    made.http.close()


def draft(span: int = 1, trace: int = 1, **fields: Any) -> dict[str, Any]:
    """Return the draft of a running span."""
    one = {"span_id": str(UUID(int=span)), "name": f"s{span}", "started_at": STARTED, "metadata": {}, **fields}
    return {"trace_id": str(UUID(int=trace)), "spans": [one]}


def test_late_drafts_change_nothing(sender: Sender) -> None:
    """A span that has ended does not run again."""
    sender.send(draft(ended_at=ENDED, output="Rain"), draft(output="Sunny"))
    page = sender.page()

    assert ("Rain" in page, "Sunny" in page) == (True, False)


def test_stored_spans_leave_the_memory_and_do_not_come_back(sender: Sender, server: LocalServer) -> None:
    """A stored trace replaces the running one as a whole; late drafts and other projects do not change it."""
    sender.send(draft(1), draft(2))
    other = Sender(server, "other")
    with other.http:
        other.send(draft(3))
    assert sender.names() == ["s1", "s2"]
    span = {"span_id": str(UUID(int=1)), "name": "s1", "started_at": STARTED, "ended_at": ENDED}
    body = {"trace_id": str(UUID(int=1)), "name": "run", "started_at": STARTED, "ended_at": ENDED, "spans": [span]}
    sender.http.post("/traces", json=body).raise_for_status()
    sender.send(draft(1, ended_at=ENDED), draft(4))

    assert sender.names() == ["s1"]


def test_memory_is_bounded(sender: Sender) -> None:
    """The oldest traces are dropped; a trace with too much content is marked as incomplete."""
    sender.send(*(draft(trace=number) for number in range(1, 211)))
    assert [sender.names(trace) for trace in (10, 11)] == [[], ["s1"]]
    for span in range(1, 8):
        sender.send(draft(span, 1000, input=f"{span}" * 3_000_000))
    kept = [
        f"{span}" * 9 in sender.http.get(f"/ui/traces/{UUID(int=1000)}?span={UUID(int=span)}").text for span in (5, 6)
    ]
    assert kept == [True, False]
    assert "Live view incomplete" in sender.page(1000)


def test_a_silent_trace_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After fifteen minutes without a draft, a trace counts as interrupted."""
    now = [1_767_323_045_000_000]  # the time of STARTED
    monkeypatch.setattr("pandaprobe_otel.local.services.now_micros", lambda: now[0])
    with LocalServer(limit=None) as server:
        sender = Sender(server)
        with sender.http:
            sender.send(draft())
            pages = []
            for passed in (899_000_000, 1_000_000):
                now[0] += passed
                pages.append(sender.page())

    assert ["Interrupted and never delivered" in page for page in pages] == [False, True]


def test_drafts_need_no_room_in_limits_and_take_no_faults() -> None:
    """Drafts do not count for the rate limit and do not consume queued faults."""
    with LocalServer(limit=1) as server:
        server.faults.next(500)
        body = [draft()]
        with http_of(server) as http:
            answers = {http.post("/local/live", json=body).status_code for _ in range(201)}
            wrong = http.post("/local/live", json=[{"spans": []}]).status_code
            many = http.post("/local/live", json=body * 501).status_code

    assert (answers, wrong, many) == ({204}, 422, 422)


def test_the_version_changes_with_each_draft(sender: Sender) -> None:
    """A page that polls the version of a running trace learns of each draft, and of the delivery."""

    def version() -> str:
        return sender.http.get("/ui/latest", params={"trace": str(UUID(int=1))}).text

    sender.send(draft())
    seen = [version(), version()]
    sender.send(draft(2))
    seen.append(version())
    body = {"trace_id": str(UUID(int=1)), "name": "run", "started_at": STARTED, "ended_at": ENDED}
    sender.http.post("/traces", json=body).raise_for_status()
    assert seen[0] == seen[1] != seen[2]
    assert version() == "settled"
