"""Spans of OpenTelemetry's own blocks that a cancellation or the end of a left stream passes through."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest
from opentelemetry.trace import Tracer

from pandaprobe_otel import PandaProbeSpanProcessor
from spans import provider_with
from strict_pandaprobe import StrictPandaProbe

AGENT = {"gen_ai.operation.name": "invoke_agent"}
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
FINISHED = {"gen_ai.response.finish_reasons": ["stop"]}


@contextmanager
def posted() -> Iterator[tuple[Tracer, dict[str, Any], dict[str, Any]]]:
    """Yield a tracer, and two dicts that after the block hold the outcomes of the trace and of its spans by name, and
    the status of the trace with the errors of its spans.
    """
    found: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    with StrictPandaProbe() as server:
        processor = PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        with provider_with(processor) as tracer:
            yield tracer, found, errors
            assert processor.force_flush(60_000)
            (post,) = (logged.body for logged in server.posts())
    errors |= {"trace": post["status"], **{span["name"]: span.get("error") for span in post["spans"]}}
    found["trace"] = (post["metadata"] or {}).get("outcome")
    found |= {span["name"]: (span["metadata"] or {}).get("outcome") for span in post["spans"]}


async def test_a_cancelled_run_is_cancelled() -> None:
    """`asyncio.wait_for` cancels the run: its open spans and the trace are cancelled, the finished call is not."""
    with posted() as (tracer, found, _):

        async def run() -> None:
            with tracer.start_as_current_span("agent", attributes=AGENT):
                with tracer.start_as_current_span("first", attributes={**CALL, **FINISHED}):
                    pass
                with tracer.start_as_current_span("second", attributes=CALL):
                    await asyncio.Event().wait()

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(run(), 0.05)
    assert found == {"trace": "cancelled", "agent": "cancelled", "first": None, "second": "cancelled"}


@pytest.mark.parametrize("finished", [False, True])
async def test_a_left_stream_is_partial(finished: bool) -> None:
    """Leaving a stream marks its spans as partial, unless the model call shows that its answer was complete."""
    with posted() as (tracer, found, _):

        async def stream() -> AsyncGenerator[str]:
            with tracer.start_as_current_span("chat", attributes={**CALL, **(FINISHED if finished else {})}):
                yield "one"
                yield "two"

        async with aclosing(stream()) as words:
            async for _ in words:
                break
    outcome = None if finished else "partial"
    assert found == {"trace": outcome, "chat": outcome}


class Halted(BaseException):
    """An exception that no `except Exception` stops, such as a time limit of gevent."""


@pytest.mark.parametrize("kind", [Halted, KeyboardInterrupt, SystemExit])
def test_a_run_that_any_other_exception_ends_has_failed(kind: type[BaseException]) -> None:
    """The exception is the error of each span that it passes, and of the trace; a finished call stays as it is."""

    def run(tracer: Tracer) -> None:
        with tracer.start_as_current_span("agent", attributes=AGENT):
            with tracer.start_as_current_span("chat", attributes={**CALL, **FINISHED}):
                pass
            with tracer.start_as_current_span("tool"):
                raise kind("no time left")

    with posted() as (tracer, _, errors), pytest.raises(kind):
        run(tracer)
    assert errors == {"trace": "ERROR", "agent": "no time left", "chat": None, "tool": "no time left"}


def test_a_program_that_exits_has_not_failed() -> None:
    """`sys.exit()` and `sys.exit(0)` end a run without an error."""

    def run(tracer: Tracer) -> None:
        with tracer.start_as_current_span("agent", attributes=AGENT):
            sys.exit(0)

    with posted() as (tracer, _, errors), pytest.raises(SystemExit):
        run(tracer)
    assert errors == {"trace": "COMPLETED", "agent": None}


async def test_work_after_a_cancellation_is_not_cancelled() -> None:
    """A run that the app starts while it handles a cancellation succeeds, and one that fails then has failed."""
    with posted() as (tracer, found, _):
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            with (
                tracer.start_as_current_span("agent", attributes=AGENT),
                tracer.start_as_current_span("chat", attributes={**CALL, **FINISHED}),
            ):
                pass
    assert found == {"trace": None, "agent": None, "chat": None}
