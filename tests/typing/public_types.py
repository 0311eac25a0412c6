"""Types of public names as another project sees them: checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import assert_type
from uuid import UUID

import pandaprobe_otel as pp
from pandaprobe_otel import AsyncClient, Client
from pandaprobe_otel.api import AsyncRun, MonitorPlan, Run, RunResult
from pandaprobe_otel.api.models import (
    AnalyticsBucket,
    EvalRun,
    Monitor,
    Page,
    ScoreTrend,
    Session,
    SessionComparison,
    Span,
    TokenCostBucket,
    TopModel,
    Trace,
    TraceAccepted,
    TraceListItem,
    TraceScore,
)
from pandaprobe_otel.capture.factories import SpanBlock
from pandaprobe_otel.capture.handles import SpanHandle, TraceHandle
from pandaprobe_otel.errors import OutcomeUnknown

NOW = datetime.now(UTC)


def blocking(client: Client, some_id: UUID, error: OutcomeUnknown) -> None:
    """Check the types of the results."""
    assert_type(client.score(some_id, "n", 0.5, reason="r"), TraceScore)
    assert_type(client.look_up(error), list[EvalRun] | list[TraceScore] | list[Monitor])
    assert_type(client.traces.list(limit=5, status="ERROR", tags=["a"]), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s", page_size=50), Iterator[TraceListItem])
    assert_type(client.traces.get("id"), Trace)
    assert_type(client.traces.create(name="n", started_at=NOW, spans=[{"name": "s", "started_at": NOW}]), TraceAccepted)
    assert_type(
        client.traces.analytics(metric="cost", started_after=NOW, started_before=NOW),
        list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel],
    )
    assert_type(client.sessions.get("s", limit=5), Session)
    assert_type(client.scores.sessions.trend(metric_name="m"), list[ScoreTrend])
    assert_type(client.scores.sessions.iter_comparison(metric_name="m"), Iterator[SessionComparison])
    assert_type(client.evaluations.wait("id", trace_ids=[some_id], metrics=["m"], timeout=5), RunResult)
    assert_type(client.evaluations.trace_runs.create(metrics=["m"], filters={"status": "ERROR"}), EvalRun)
    assert_type(client.monitors.apply("monitors.toml", prune=True), MonitorPlan)
    client.traces.delete(some_id)

    run = client.evaluations.run(["m"], traces=[some_id, "id"], model="m")
    assert_type(run, Run)
    assert_type(run.wait(timeout=5, progress=False), RunResult)
    assert_type(run.retry_failed(), Run)


async def awaited(client: AsyncClient, some_id: UUID) -> None:
    """Check the types of the results of the asynchronous client."""
    assert_type(await client.traces.list(limit=5, status="ERROR"), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s"), AsyncIterator[TraceListItem])
    run = await client.evaluations.run("m", session="s")
    assert_type(run, AsyncRun)
    assert_type(await run.wait(timeout=5), RunResult)
    await client.traces.delete(some_id)


def read(client: Client, trace: Trace) -> None:
    """Check the members of answers, and answers as arguments."""
    assert_type(trace.spans, list[Span])
    assert_type(trace.started_at, datetime)
    client.evaluations.run("m", traces=[trace], status="ERROR")
    client.score(trace, "n", 1.0)


def refused(client: Client, some_id: UUID) -> None:
    """Check that type checkers refuse wrong calls."""
    client.traces.list(sesion_id="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.traces.create(name="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.monitors.update(some_id, target_type="TRACE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.score(some_id, "n", None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pp.trace
def bare(a: int, *, b: str = "x") -> str:
    """Decorator without parentheses."""
    return b * a


@pp.tool(name="n", ignore=("b",), capture=("a",), tags=["t"], metadata={"k": 1}, session_id="s", user_id="u")
def with_options(a: int, *, b: str = "x") -> str:
    """Decorator with options."""
    return b * a


@pp.span("title", kind="RETRIEVER", model="m")
def with_title(a: int) -> list[int]:
    """Decorator with a name as its first argument."""
    return [a]


@pp.agent
async def coroutine(a: int) -> bytes:
    """Coroutine function."""
    return bytes(a)


@pp.llm(reduce="".join)
def generator(a: str) -> Iterator[str]:
    """Generator."""
    yield a


@pp.chain
async def async_generator(a: int) -> AsyncIterator[int]:
    """Async generator."""
    yield a


@pp.context(session="s")
def in_context(a: int) -> int:
    """Function inside a context block."""
    return a


class Planner:
    field: int = 1

    @pp.tool
    def method(self, a: int) -> float:
        return a / 2

    @pp.tool(name="m")
    async def async_method(self, a: int) -> float:
        return a / 2

    @classmethod
    @pp.retriever
    def below(cls, a: int) -> Planner:
        return cls()

    @pp.embedding
    @classmethod
    def above(cls, a: int) -> list[float]:
        return [float(a)]

    @staticmethod
    @pp.tool
    def static_below(a: str) -> str:
        return a

    @pp.tool
    @staticmethod
    def static_above(a: str) -> str:
        return a


assert_type(bare(1, b="y"), str)
assert_type(with_options(1, b="y"), str)
assert_type(with_title(1), list[int])
assert_type(generator("a"), Iterator[str])
assert_type(async_generator(1), AsyncIterator[int])
assert_type(in_context(1), int)
assert_type(Planner().method(1), float)
assert_type(Planner().field, int)
assert_type(Planner.below(1), Planner)
assert_type(Planner.above(1), list[float])
assert_type(Planner.static_below("a"), str)
assert_type(Planner().static_above("a"), str)
assert_type(pp.init(spans=lambda one: not one.name.startswith("health")), pp.PandaProbe)
assert_type(pp.span("x"), SpanBlock[SpanHandle])
assert_type(pp.trace("x"), SpanBlock[TraceHandle])
assert_type(pp.current_trace_id(), str | None)
assert_type(pp.context_executor(ThreadPoolExecutor()), Executor)

takes_function: Callable[[int], list[int]] = with_title


async def blocks() -> None:
    """Blocks, handles and awaited calls."""
    assert_type(await coroutine(1), bytes)
    assert_type(await Planner().async_method(1), float)
    with pp.span("x", kind=pp.SpanKind.TOOL, input=[1]) as s:
        assert_type(s, SpanHandle)
        s.set_output(3)
        s.set_model("m")
        s.set_token_usage(prompt_tokens=1, completion_tokens=2, cached_tokens=3)
        assert_type(s.span_id, str)
    async with pp.trace("x") as t:
        assert_type(t, TraceHandle)
        with t.span("y", kind="LLM") as inner:
            assert_type(inner, SpanHandle)
    with pp.start_trace("x", input={"messages": []}, session_id="s", tags=["a"]) as root:
        assert_type(root, TraceHandle)
        assert_type(root.trace_id, str)
        root.set_status(pp.TraceStatus.COMPLETED)
    with pp.context(session="s", user="u", tags=["t"], metadata={"k": 1}, baggage=True), pp.session("s"):
        pass
    async with pp.user("u"):
        pass


bare("no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
bare(1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
with_options(a="no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Planner().method()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
pp.tool(nmae="typo")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
pp.agnet()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
