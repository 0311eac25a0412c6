"""One POST /traces for each trace, with any order of spans and any place of the root.

Time is simulated, and the spans are real.
"""

from __future__ import annotations

import itertools

from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.delivery.parcel import adopted_id
from simulated_app import SimulatedApp, stored_id, trace_id_of
from simulated_world import Process, Server, World, trace_request
from spans import CHAT, HTTP
from strict_pandaprobe import StrictPandaProbe

MINUTE = 60.0


def spans_of(server: Server, trace_id: str) -> dict[str, dict[str, object]]:
    """Return the ids of a trace's spans on the server."""
    return server.traces[trace_id].spans


def test_late_children_follow_their_trace_and_cost_no_second_post() -> None:
    """Late children join their trace without a second POST, even minutes after the root."""
    world = World()
    server = Server(world)
    app = SimulatedApp(Process(world, server))
    root = app.start("agent")
    soon, late, never = (app.start(name, root) for name in ("soon", "late", "never"))
    app.end(root)
    world.run(3)
    app.end(soon)
    world.run(2 * MINUTE - 3)
    assert set(spans_of(server, trace_id_of(root))) == {stored_id(root), stored_id(soon)}

    app.end(late)
    after = app.start("after", root)
    app.end(after)
    world.run(2 * MINUTE)
    assert set(spans_of(server, trace_id_of(root))) == {stored_id(span) for span in (root, soon, late, after)}
    assert len(server.posts()) == 1
    assert app.process.is_balanced
    listed = server.traces[trace_id_of(root)].fields["metadata"]["pandaprobe_otel.unfinished"]
    assert sorted(listed) == ["late", "never"]
    assert never.is_recording()


def test_a_run_of_two_hours_is_one_post_however_many_spans_it_has() -> None:
    """A trace of 5000 spans below one open root is RUNNING until its end, is posted once, and takes constant memory."""
    world = World()
    server = Server(world)
    app = SimulatedApp(Process(world, server))
    root = app.start("agent")
    spans: list[Span] = [root]
    most_bytes = 0
    for _ in range(5_000):
        span = app.start("step", root)
        world.run(1.44)
        app.end(span)
        spans.append(span)
        most_bytes = max(most_bytes, app.process.outbox.bytes)
        if len(spans) == 1_000:
            assert server.traces[trace_id_of(root)].fields["status"] == "RUNNING"
    app.end(root)
    world.run(MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert len(server.posts()) == 1
    assert trace.fields["status"] == "COMPLETED"
    assert set(trace.spans) == {stored_id(span) for span in spans}
    assert app.most_held <= 500
    assert most_bytes <= 1 << 20
    assert app.process.is_balanced


def test_services_append_to_the_trace_of_the_root_that_comes_last() -> None:
    """Two services append to the trace of a root that ends after them, and the root's process posts the trace once."""
    world = World()
    server = Server(world)
    front, middle, back = (SimulatedApp(Process(world, server, name=name)) for name in ("front", "middle", "back"))
    root = front.start("request")
    assert root.context is not None
    call = middle.start_below("call", root.context)
    assert call.context is not None
    query = back.start_below("query", call.context)
    for app, span in ((back, query), (middle, call)):
        world.run(1)
        app.end(span)
    world.run(MINUTE)
    assert server.traces == {}
    front.end(root)
    world.run(2 * MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert trace.created_by == ["front"]
    assert trace.fields["name"] == "request"
    assert set(trace.spans) == {stored_id(span) for span in (root, call, query)}
    assert len(server.posts()) == len(server.traces) == 1


def test_spans_whose_root_never_reports_become_a_trace_of_their_own() -> None:
    """After four to six minutes, spans without a root become one trace for each project, with a derived id."""
    world = World()
    server = Server(world)
    orphans = [
        SimulatedApp(Process(world, server, name="middle")),
        SimulatedApp(Process(world, server, name="back")),
        SimulatedApp(Process(world, server, name="foreign", project="other")),
    ]
    stranger = SimulatedApp(Process(world, server, name="never reports")).start("request")
    assert stranger.context is not None
    spans = [app.start_below(app.process.name, stranger.context) for app in orphans]
    for app, span in zip(orphans, spans, strict=True):
        app.end(span)
    world.run(10 * MINUTE)

    original = trace_id_of(stranger)
    assert original not in server.traces
    shop, other = adopted_id(original, "shop"), adopted_id(original, "other")
    assert set(spans_of(server, shop)) == {stored_id(span) for span in spans[:2]}
    assert set(spans_of(server, other)) == {stored_id(spans[2])}
    posted = [post.at for post in server.posts(status=202)]
    assert all(240 <= at <= 360 for at in posted)

    late = orphans[0].start_below("late", stranger.context)
    orphans[0].end(late)
    world.run(MINUTE)
    assert stored_id(late) in spans_of(server, shop)


def test_a_root_that_comes_after_the_adoption_is_not_overwritten() -> None:
    """A root that comes after its spans were adopted keeps its own trace, since the adopted trace has another id."""
    world = World()
    server = Server(world)
    front, back = SimulatedApp(Process(world, server, name="front")), SimulatedApp(Process(world, server, name="back"))
    root = front.start("request", attributes={**CHAT, "user.id": "u1"})
    assert root.context is not None
    query = back.start_below("query", root.context)
    back.end(query)
    world.run(400)
    assert server.traces.keys() >= {adopted_id(trace_id_of(root), "shop")}
    front.end(root)
    world.run(MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert trace.created_by == ["front"]
    assert trace.fields["name"] == "request"
    assert set(trace.spans) == {stored_id(root)}


def test_late_spans_of_a_foreign_trace_never_create_it_and_follow_its_adoption() -> None:
    """Late spans of another service's trace are sent to the adopted trace, and never create the original one."""
    world = World()
    server = Server(world)
    app = SimulatedApp(Process(world, server, name="back"))
    stranger = SimulatedApp(Process(world, server, name="never reports")).start("request")
    assert stranger.context is not None
    call = app.start_below("call", stranger.context)
    app.end(call)
    world.run(MINUTE)
    early = app.start("early", call)
    app.end(early)
    world.run(10 * MINUTE)
    late = app.start("late", call)
    app.end(late)
    world.run(MINUTE)

    original = trace_id_of(stranger)
    derived = adopted_id(original, "shop")
    assert server.traces.keys() == {derived}
    assert set(spans_of(server, derived)) == {stored_id(span) for span in (call, early, late)}
    assert len(server.posts()) == 1
    assert app.process.ledger.read().dropped == {}


def test_late_spans_reach_the_trace_of_the_root_that_came() -> None:
    """A background task below a finished handler is appended to the trace that the root's process posted."""
    world = World()
    server = Server(world)
    front, back = SimulatedApp(Process(world, server, name="front")), SimulatedApp(Process(world, server, name="back"))
    root = front.start("request", attributes={**CHAT, "user.id": "u1"})
    assert root.context is not None
    call = back.start_below("call", root.context)
    back.end(call)
    world.run(MINUTE)
    before = back.start("before", call, HTTP)
    back.end(before)
    world.run(10)
    front.end(root)
    world.run(2 * MINUTE)
    after = back.start("after", call)
    back.end(after)
    world.run(MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert trace.created_by == ["front"]
    assert (trace.fields["name"], trace.fields["user_id"]) == ("request", "u1")
    assert set(trace.spans) == {stored_id(span) for span in (root, call, before, after)}
    assert len(server.posts()) == len(server.traces) == 1


def test_a_long_call_from_elsewhere_is_brought_up_to_date_twice_a_minute() -> None:
    """A call of ten minutes below another service's root is appended twice a minute, not with each span."""
    world = World()
    server = Server(world)
    front, back = SimulatedApp(Process(world, server, name="front")), SimulatedApp(Process(world, server, name="back"))
    root = front.start("request")
    assert root.context is not None
    call = back.start_below("call", root.context)
    front.end(root)
    steps: list[Span] = []
    for _ in range(600):
        steps.append(back.start("step", call))
        world.run(1)
        back.end(steps[-1])
    back.end(call)
    world.run(MINUTE)

    assert set(spans_of(server, trace_id_of(root))) == {stored_id(span) for span in (root, call, *steps)}
    assert len([each for each in server.seen if each.method == "POST" and each.path != "/traces"]) <= 15


def test_a_root_that_turns_out_to_be_here_goes_before_what_waited_for_it() -> None:
    """If a service calls itself, its root is posted at once, although a span of the same trace waits for the root."""
    for head_start_s in (20.0, 0.01):  # the span waits for its next try, or is being sent
        world = World()
        server = Server(world)
        process = Process(world, server)
        process.put(trace_request(1, step="append", is_remote=True, batch=1))
        world.run(head_start_s)
        process.put(trace_request(1))
        world.run(3)

        assert len(server.posts()) == 1
        assert len(server.traces[trace_request(1).trace_id].spans) == 2
        assert process.is_balanced


def test_a_server_that_stores_late_gets_the_rest_of_a_large_trace_later() -> None:
    """Appends to a trace of 1200 spans wait until it is stored after 90 s; all spans arrive for one token."""
    world = World()
    server = Server(world, persist_lag_s=90)
    app = SimulatedApp(Process(world, server))
    root = app.start("agent")
    spans = [app.start("step", root) for _ in range(1_200)]
    for span in (*spans, root):
        app.end(span)
    world.run(4 * MINUTE)

    assert len(server.posts()) == 1
    assert set(spans_of(server, trace_id_of(root))) == {stored_id(span) for span in (root, *spans)}
    assert len([each for each in server.seen if each.status == 404]) <= 20
    assert app.process.ledger.read().dropped == {}


class SameSpanIds(IdGenerator):
    """An id generator that gives every trace the same three span ids."""

    def __init__(self) -> None:
        self._traces = itertools.count(1)
        self._spans = itertools.count()

    def generate_trace_id(self) -> int:
        """Return a new trace id."""
        return 0xABCDEF << 64 | next(self._traces)

    def generate_span_id(self) -> int:
        """Return 1, 2 and 3 in turn."""
        return next(self._spans) % 3 + 1


def test_equal_span_ids_of_two_traces_do_not_meet() -> None:
    """Equal span ids of two traces are stored as different ids, since span ids are global on the server."""
    with StrictPandaProbe() as server:
        provider = TracerProvider(id_generator=SameSpanIds(), shutdown_on_exit=False)
        provider.add_span_processor(PandaProbeSpanProcessor(api_key="k", project_name="p", endpoint=server.url))
        tracer = provider.get_tracer("test")
        for _ in range(2):
            with tracer.start_as_current_span("agent", attributes=CHAT):
                for name in ("a", "b"):
                    with tracer.start_as_current_span(name, attributes=CHAT):
                        pass
        assert provider.force_flush(60_000)
        provider.shutdown()

        assert [len(trace.spans) for trace in server.traces.values()] == [3, 3]
        assert len(server.span_ids()) == 6
