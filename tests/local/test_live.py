"""Running traces on the local server: received over HTTP, shown from memory, and replaced by the delivered traces."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import httpx
import pytest
from opentelemetry.trace import Tracer, format_trace_id, set_span_in_context

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.live_traces import MOST_SPANS, MOST_TRACES, SILENT_FOR, LiveTraces
from pandaprobe_otel.local.models.live import LiveEvent
from pandaprobe_otel.local.pages.live_pages import changes, stepped
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
        page = httpx.get(f"{server.url}/ui", trust_env=False, timeout=60).text
        seen.append(page.count("<h2>Running now"))
        headers = {"X-Project-Name": "shop"}
        stored = httpx.get(f"{server.url}/traces/{trace_id}", headers=headers, trust_env=False, timeout=60)
        assert stored.status_code == 404  # as on the real server, until the trace is delivered

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


def test_another_pandaprobe_receives_no_live_request() -> None:
    """A PandaProbe server on this machine that is not a local server gets one request to /health and no live events."""
    with StrictPandaProbe() as hosted:

        def until_asked(trace_id: str, step: int) -> None:
            wait_until(lambda: hosted.requests("GET", "/health"))

        with app(hosted.url) as (tracer, processor):
            run_of(tracer, until_asked)
            assert processor.pipeline.flush(60)
        asked = [(request.method, request.path) for request in hosted.requests()]

    assert asked == [("GET", "/health"), ("POST", "/traces")]


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
        headers = {"X-Project-Name": "shop"}
        answer = httpx.get(f"{following.url}/traces/{trace_id}", headers=headers, trust_env=False, timeout=60)
        following.stop()
        bodies.append(without_moments(answer.raise_for_status().json()))

    assert bodies[0] == bodies[1]


def without_moments(trace: dict[str, Any]) -> dict[str, Any]:
    """Return a trace without ids and times, which differ between runs."""
    text = re.sub(r'"[0-9a-f]{8}-[0-9a-f-]{27}"', '"id"', json.dumps(trace))
    text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', '"time"', text)
    plain: dict[str, Any] = json.loads(re.sub(r'"(latency_ms|time_to_first_token_ms)": [0-9.e-]+', '"ms": 0', text))
    return plain


# -- memory -----------------------------------------------------------------------------------------------------------


def event(kind: Literal["b", "e", "t", "i"], trace: int, span: int = 1, **fields: Any) -> LiveEvent:
    """Return a live event of a span."""
    body: dict[str, Any] = {"k": kind, "trace_id": UUID(int=trace)}
    if kind in "be":
        end = {"ended_at": ENDED} if kind == "e" else {}
        body["span"] = {"span_id": UUID(int=span), "name": f"s{span}", "started_at": STARTED, **end, **fields}
    elif kind == "t":
        body |= {"span_id": UUID(int=span), **fields}
    return LiveEvent.model_validate(body)


def names_in(live: LiveTraces, trace: int) -> list[str]:
    """Return the names of a running trace's spans."""
    found = live.get(str(UUID(int=trace)))
    return [] if found is None else [span["name"] for span in found.spans]


def test_a_begin_that_is_overtaken_changes_nothing() -> None:
    """The begin and the text of a span change nothing if they arrive after its end."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("e", 1, output="done"), event("b", 1), event("t", 1, text="do")])
    [span] = live.get(str(UUID(int=1))).spans  # type: ignore[union-attr]

    assert (span["output"], span["ended_at"], span["latency_ms"]) == ("done", "2026-01-02T03:04:06+00:00", 1000.0)


def test_text_so_far_is_the_output_of_its_span() -> None:
    """Until a span ends, its output is the latest text so far."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("b", 1), event("t", 1, text="Sun"), event("t", 1, text="Sunny"), event("t", 1, 9, text="?")])

    assert [span["output"] for span in live.get(str(UUID(int=1))).spans] == ["Sunny"]  # type: ignore[union-attr]


def test_stored_spans_leave_the_memory_and_do_not_come_back() -> None:
    """A stored span leaves the memory at once, and a stored trace as a whole; late events do not bring them back."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("b", 1, 1), event("b", 1, 2), event("b", 1, 3)])
    live.stored(str(UUID(int=1)), [str(UUID(int=2))], is_whole=False)
    live.take("p", [event("e", 1, 2), event("e", 1, 3)])
    assert names_in(live, 1) == ["s1", "s3"]
    live.stored(str(UUID(int=1)), [], is_whole=True)
    live.take("p", [event("e", 1, 1)])
    assert live.get(str(UUID(int=1))) is None


def test_another_project_cannot_write_into_a_trace() -> None:
    """Events from another project for a running trace are ignored."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("b", 1, 1)])
    live.take("q", [event("b", 1, 2)])

    assert names_in(live, 1) == ["s1"]
    assert [trace.trace_id for trace in live.of_project("q")] == []


def test_memory_is_bounded() -> None:
    """The oldest traces are dropped; a trace with too many spans or too much content is marked as incomplete."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("b", number) for number in range(1, MOST_TRACES + 11)])
    assert names_in(live, 10) == []
    assert names_in(live, 11) == ["s1"]
    live.take("p", [event("b", 999, span) for span in range(1, MOST_SPANS + 2)])
    many = live.get(str(UUID(int=999)))
    assert many is not None
    assert (len(many.spans), many.is_incomplete) == (MOST_SPANS, True)
    large = "x" * 3_000_000
    live.take("p", [event("b", 1000, span, input=large) for span in range(1, 8)])
    heavy = live.get(str(UUID(int=1000)))
    assert heavy is not None
    assert ([span["input"] for span in heavy.spans], heavy.is_incomplete) == ([None] * 7, True)
    assert live.get(str(UUID(int=999))) is None


def test_a_trace_of_which_nothing_is_heard_is_interrupted() -> None:
    """After fifteen minutes without an event, a trace counts as interrupted; its spans end at the last event."""
    now = 1_767_323_045_000_000  # the time of STARTED
    live = LiveTraces(lambda: now)
    live.take("p", [event("b", 1), event("i", 1)])
    now += SILENT_FOR - 1
    before = live.get(str(UUID(int=1)))
    now += 1
    after = live.get(str(UUID(int=1)))

    assert before is not None
    assert after is not None
    assert (before.is_interrupted, after.is_interrupted, after.is_incomplete) == (False, True, True)
    assert after.spans[0]["latency_ms"] == 0.0


def test_the_stream_tells_changes_until_the_trace_is_settled() -> None:
    """The stream has an event for each change of the trace, then the event `settled`."""
    live = LiveTraces(lambda: 0)
    live.take("p", [event("b", 1)])
    steps: Iterator[Callable[[], object]] = iter(
        (
            lambda: None,
            lambda: live.take("p", [event("e", 1), event("b", 1, 2)]),
            lambda: live.stored(str(UUID(int=1)), [], is_whole=True),
        )
    )

    async def gone() -> bool:
        return False

    async def sleep(_seconds: float) -> None:
        next(steps)()

    async def read() -> list[str]:
        return [text.partition("\n")[0] async for text in changes(live, str(UUID(int=1)), gone=gone, sleep=sleep)]

    assert asyncio.run(read()) == ["event: span", "event: span", "event: settled"]


@pytest.mark.parametrize(("length", "axis"), [(0.4, 1), (1, 1), (1.5, 2), (3, 5), (6, 10), (12, 20), (999, 1000)])
def test_the_axis_grows_in_steps(length: float, axis: float) -> None:
    """The time axis grows in steps, so that bars rarely move while spans run."""
    assert stepped(length) == axis


# -- over HTTP --------------------------------------------------------------------------------------------------------


def test_live_events_need_no_room_in_limits_and_take_no_faults() -> None:
    """Live events do not count for the rate limit and do not consume queued faults."""
    with LocalServer(limit=1) as server:
        server.faults.next(500)
        body = [{"k": "b", "trace_id": str(UUID(int=1)), "span": {"name": "run", "started_at": STARTED}}]
        headers = {"X-Project-Name": "shop"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            answers = {http.post("/local/live", json=body).status_code for _ in range(201)}
            wrong = http.post("/local/live", json=[{"k": "x"}]).status_code
            many = http.post("/local/live", json=body * 501).status_code

    assert (answers, wrong, many) == ({204}, 422, 422)


def test_a_running_trace_is_as_long_as_its_spans(server: LocalServer) -> None:
    """The time of a running trace is not the length of its axis, which grows in steps."""
    started = (datetime.now(UTC) - timedelta(seconds=1030)).isoformat()
    events = [{"k": "b", "trace_id": str(UUID(int=1)), "span": {"name": "run", "started_at": started}}]
    http = httpx.Client(base_url=server.url, headers={"X-Project-Name": "shop"}, trust_env=False, timeout=60)
    with http:
        http.post("/local/live", json=events).raise_for_status()
        page = http.get(f"/ui/traces/{UUID(int=1)}").text

    lengths = re.findall(r'class="num">(?:<small>[^<]*</small> )?(\d+) min', page)
    assert lengths == ["17", "17"]
    assert "33 min" not in page  # the axis has 2,000 s


@pytest.mark.outer
@pytest.mark.exhaustive
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_rows_grow_and_stay_in_a_browser(server: LocalServer, theme: Literal["light", "dark"], width: int) -> None:
    """A MutationObserver sees no row removed, even when the trace is stored; the selection stays; axe finds nothing."""
    from playwright.sync_api import expect

    from chromium import chromium
    from watched_tabs import found_by_axe

    with chromium() as browser, app(server.url) as (tracer, processor):
        page = browser.new_page(base_url=server.url, color_scheme=theme, viewport={"width": width, "height": 900})
        found: list[str] = []

        def look(trace_id: str, step: int) -> None:
            if step == 1:
                wait_until(lambda: server.services.live.get(trace_id))
                page.goto(f"/ui/traces/{trace_id}")
                page.evaluate(
                    "window.removed = 0; new MutationObserver((all) => all.forEach((one) => one.removedNodes.forEach("
                    "(node) => { if (node.matches && node.matches('.node')) window.removed++; })))"
                    ".observe(document.querySelector('.nodes'), {childList: true})"
                )
                page.get_by_role("treeitem", name="chat m").click()
            else:
                expect(page.get_by_role("treeitem", name="look_up")).to_be_visible()
                found.extend(found_by_axe(page))

        run_of(tracer, look)
        assert processor.pipeline.flush(60)
        expect(page.locator("#live[data-settled]")).to_be_attached()
        expect(page.locator(".live-note")).to_have_count(0)
        assert page.evaluate("window.removed") == 0
        expect(page.locator(".node.selected")).to_contain_text("chat m")
        expect(page.locator(".node")).to_have_count(4)

    assert found == []
