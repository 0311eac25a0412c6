"""One POST /traces for each trace, with any order of spans and any place of the root.

Time is simulated, and the spans are real.
"""

from __future__ import annotations

import itertools

import pytest
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.delivery.parcel import adopted_id
from simulated_app import SimulatedApp, stored_id, trace_id_of
from simulated_world import Process, Server, World, trace_request
from spans import CHAT, HTTP
from strict_pandaprobe import StrictPandaProbe

MINUTE = 60.0


def services(persist_lag_s: float = 0.2) -> tuple[World, Server, SimulatedApp, SimulatedApp]:
    """Return a clock, a server and two services."""
    world = World()
    server = Server(world, persist_lag_s=persist_lag_s)
    front, back = (SimulatedApp(Process(world, server, name=name)) for name in ("front", "back"))
    return world, server, front, back


def has(server: Server, trace: str | Span, *spans: Span) -> bool:
    """Return whether the server has this trace with exactly these spans; a root is one of them."""
    (key, all_spans) = (trace, spans) if isinstance(trace, str) else (trace_id_of(trace), (trace, *spans))
    return server.traces[key].spans.keys() == {stored_id(span) for span in all_spans}


def one(app: SimulatedApp, name: str, *given: Span | dict[str, str]) -> Span:
    """Make a span that ends at once."""
    span = app.start(name, *given)  # type: ignore[arg-type]
    app.end(span)
    return span


def test_late_children_follow_their_trace_and_cost_no_second_post() -> None:
    """Late children join their trace without a second POST, even minutes after the root."""
    world, server, front, _ = services()
    root = front.start("agent")
    soon, late, never = (front.start(name, root) for name in ("soon", "late", "never"))
    front.end(root)
    world.run(3)
    front.end(soon)
    world.run(2 * MINUTE - 3)
    assert has(server, root, soon)

    front.end(late)
    after = one(front, "after", root)
    world.run(2 * MINUTE)
    assert has(server, root, soon, late, after)
    assert len(server.posts()) == 1
    assert front.process.is_balanced
    listed = server.traces[trace_id_of(root)].fields["metadata"]["pandaprobe_otel.unfinished"]
    assert sorted(listed) == ["late", "never"]
    assert never.is_recording()


def test_a_run_of_two_hours_is_one_post_however_many_spans_it_has() -> None:
    """A trace of 5000 spans below one open root is RUNNING until its end, is posted once, and takes constant memory."""
    world, server, front, _ = services()
    root = front.start("agent")
    spans: list[Span] = []
    most_bytes = 0
    for number in range(5_000):
        spans.append(front.start("step", root))
        world.run(1.44)
        front.end(spans[-1])
        most_bytes = max(most_bytes, front.process.outbox.bytes)
        if number == 1_000:
            assert server.traces[trace_id_of(root)].fields["status"] == "RUNNING"
    front.end(root)
    world.run(MINUTE)

    assert len(server.posts()) == 1
    assert server.traces[trace_id_of(root)].fields["status"] == "COMPLETED"
    assert has(server, root, *spans)
    assert front.most_held <= 500
    assert most_bytes <= 1 << 20
    assert front.process.is_balanced


def test_services_append_to_the_trace_of_the_root_that_comes_last() -> None:
    """Two services append to the trace of a root that ends after them, and the root's process posts the trace once."""
    world, server, front, back = services()
    middle = SimulatedApp(Process(world, server, name="middle"))
    root = front.start("request")
    call = middle.start_below("call", root)
    query = back.start_below("query", call)
    for app, span in ((back, query), (middle, call)):
        world.run(1)
        app.end(span)
    world.run(MINUTE)
    assert server.traces == {}
    front.end(root)
    world.run(2 * MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert (trace.created_by, trace.fields["name"]) == (["front"], "request")
    assert has(server, root, call, query)
    assert len(server.posts()) == len(server.traces) == 1


def test_spans_whose_root_never_reports_become_a_trace_of_their_own() -> None:
    """After four to six minutes, spans without a root become one trace for each project, with a derived id."""
    world, server, front, back = services()
    middle, foreign = (SimulatedApp(Process(world, server, name=name, project=name)) for name in ("shop", "other"))
    stranger = front.start("request")
    spans = [app.start_below("call", stranger) for app in (middle, back, foreign)]
    for app, span in zip((middle, back, foreign), spans, strict=True):
        app.end(span)
    world.run(10 * MINUTE)

    original = trace_id_of(stranger)
    assert original not in server.traces
    shop = adopted_id(original, "shop")
    assert has(server, shop, *spans[:2])
    assert has(server, adopted_id(original, "other"), spans[2])
    assert all(240 <= post.at <= 360 for post in server.posts(status=202))

    late = middle.start_below("late", stranger)
    middle.end(late)
    world.run(MINUTE)
    assert has(server, shop, *spans[:2], late)


def test_a_root_that_comes_after_the_adoption_is_not_overwritten() -> None:
    """A root that comes after its spans were adopted keeps its own trace, since the adopted trace has another id."""
    world, server, front, back = services()
    root = front.start("request", attributes={**CHAT, "user.id": "u1"})
    back.end(back.start_below("query", root))
    world.run(400)
    assert server.traces.keys() >= {adopted_id(trace_id_of(root), "shop")}
    front.end(root)
    world.run(MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert (trace.created_by, trace.fields["name"]) == (["front"], "request")
    assert has(server, root)


def test_late_spans_of_a_foreign_trace_never_create_it_and_follow_its_adoption() -> None:
    """Late spans of another service's trace are sent to the adopted trace, and never create the original one."""
    world, server, front, back = services()
    stranger = front.start("request")
    call = back.start_below("call", stranger)
    back.end(call)
    world.run(MINUTE)
    early = one(back, "early", call)
    world.run(10 * MINUTE)
    late = one(back, "late", call)
    world.run(MINUTE)

    derived = adopted_id(trace_id_of(stranger), "shop")
    assert server.traces.keys() == {derived}
    assert has(server, derived, call, early, late)
    assert len(server.posts()) == 1
    assert back.process.ledger.read().dropped == {}


def test_late_spans_reach_the_trace_of_the_root_that_came() -> None:
    """A background task below a finished handler is appended to the trace that the root's process posted."""
    world, server, front, back = services()
    root = front.start("request", attributes={**CHAT, "user.id": "u1"})
    call = back.start_below("call", root)
    back.end(call)
    world.run(MINUTE)
    before = one(back, "before", call, dict(HTTP))
    world.run(10)
    front.end(root)
    world.run(2 * MINUTE)
    after = one(back, "after", call)
    world.run(MINUTE)

    trace = server.traces[trace_id_of(root)]
    assert (trace.created_by, trace.fields["name"], trace.fields["user_id"]) == (["front"], "request", "u1")
    assert has(server, root, call, before, after)
    assert len(server.posts()) == len(server.traces) == 1


def test_a_long_call_from_elsewhere_is_brought_up_to_date_twice_a_minute() -> None:
    """A call of ten minutes below another service's root is appended twice a minute, not with each span."""
    world, server, front, back = services()
    root = front.start("request")
    call = back.start_below("call", root)
    front.end(root)
    steps: list[Span] = []
    for _ in range(600):
        steps.append(back.start("step", call))
        world.run(1)
        back.end(steps[-1])
    back.end(call)
    world.run(MINUTE)

    assert has(server, root, call, *steps)
    assert len([each for each in server.seen if each.method == "POST" and each.path != "/traces"]) <= 15


@pytest.mark.parametrize("head_start_s", [20.0, 0.01], ids=["waits", "is being sent"])
def test_a_root_that_turns_out_to_be_here_goes_before_what_waited_for_it(head_start_s: float) -> None:
    """If a service calls itself, its root is posted at once, although a span of the same trace waits for the root."""
    world, server, *_ = services()
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
    world, server, front, _ = services(persist_lag_s=90)
    root = front.start("agent")
    spans = [front.start("step", root) for _ in range(1_200)]
    for span in (*spans, root):
        front.end(span)
    world.run(4 * MINUTE)

    assert len(server.posts()) == 1
    assert has(server, root, *spans)
    assert len([each for each in server.seen if each.status == 404]) <= 20
    assert front.process.ledger.read().dropped == {}


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
