"""Budgets: the next model call is refused before it is sent, and nothing else is."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from pandaprobe_otel.budgets import BudgetExceeded, Used, budget
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint
from pandaprobe_otel_integrations._spans import adopt
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from span_recorder import SpanRecorder
from subprocesses import environment, run_python

QUESTION: list[Any] = [{"role": "user", "content": "Where is my order?"}]


@pytest.fixture(autouse=True)
def recorder() -> Iterator[SpanRecorder]:
    """Record the calls of OpenAI's client."""
    recorder = SpanRecorder()
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    yield recorder
    instrumentor.uninstrument()


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """Serve a model with one answer."""
    with ScriptedEndpoint(lambda messages: Reply(text="On its way.")) as endpoint:
        yield endpoint


@pytest.fixture
def client(endpoint: ScriptedEndpoint) -> Iterator[OpenAI]:
    """Yield a client that tries each request once."""
    with OpenAI(base_url=endpoint.base_url, api_key="sk-any", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **options: Any) -> Any:
    """Call the model once."""
    return client.chat.completions.create(model="gpt-5-mini", messages=QUESTION, **options)


def tokens_of(endpoint: ScriptedEndpoint) -> int:
    """Return the tokens of one call."""
    usage = endpoint.exchanges[0].usage
    return usage.prompt_tokens + usage.completion_tokens


def test_calls_are_refused_before_they_are_sent(client: OpenAI, endpoint: ScriptedEndpoint) -> None:
    """Three calls are sent; the fourth raises, names the bound, and reaches nobody."""
    with budget(calls=3) as block:
        for _ in range(3):
            ask(client)
        with pytest.raises(BudgetExceeded, match="the budget of 3 calls is used up") as caught:
            ask(client)
        assert (caught.value.bound, caught.value.limit, block.used.calls) == ("calls", 3, 3)
    ask(client)  # nothing is refused without a budget

    assert len(endpoint.exchanges) == 4


def test_tokens_settle_with_the_answer_and_the_refusal_is_on_the_trace(
    client: OpenAI, endpoint: ScriptedEndpoint, recorder: SpanRecorder
) -> None:
    """The call that goes over is finished; the next one is refused, and its span says why and since which span."""
    ask(client)
    one = tokens_of(endpoint)
    with budget(tokens=one + 1) as block:
        ask(client)
        ask(client, stream=True, stream_options={"include_usage": True}).close()
        list(ask(client, stream=True, stream_options={"include_usage": True}))
        with pytest.raises(BudgetExceeded):
            ask(client)
    assert replace(block.used, seconds=0) == Used(tokens=2 * one, calls=3, unknown=1)

    refused = recorder.spans[-1]
    assert refused.name == "chat gpt-5-mini"
    assert (refused.attributes or {})["error.type"] == "pandaprobe_otel.budgets.BudgetExceeded"
    assert f"the budget of {one + 1} tokens is used up ({2 * one}, the last by 'chat gpt-5-mini')" in str(
        refused.status.description
    )


@pytest.mark.parametrize("workers", [pytest.param(8, id="8"), pytest.param(16, id="16", marks=pytest.mark.outer)])
def test_parallel_calls_never_exceed_the_bound(client: OpenAI, workers: int, endpoint: ScriptedEndpoint) -> None:
    """Threads reserve their calls: exactly as many are sent as allowed, and the others are refused."""
    allowed, made = 30 * workers, 60 * workers
    refused: list[BudgetExceeded] = []
    lock = threading.Lock()

    def call(_: int) -> None:
        try:
            ask(client)
        except BudgetExceeded as error:
            with lock:
                refused.append(error)

    with budget(calls=allowed), ThreadPoolExecutor(workers) as pool:
        from pandaprobe_otel import context_executor

        list(context_executor(pool).map(call, range(made)))

    assert (len(endpoint.exchanges), len(refused)) == (allowed, made - allowed)


def test_tasks_share_the_budget_of_their_block(endpoint: ScriptedEndpoint) -> None:
    """Tasks that start in the block count together, with an asynchronous client too."""

    async def main() -> list[Any]:
        async with AsyncOpenAI(base_url=endpoint.base_url, api_key="sk-any", max_retries=0) as client:
            with budget(calls=2):
                calls = [client.chat.completions.create(model="gpt-5-mini", messages=QUESTION) for _ in range(5)]
                return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())

    assert sum(isinstance(result, BudgetExceeded) for result in results) == 3
    assert len(endpoint.exchanges) == 2


def test_budgets_inside_each_other_all_hold(client: OpenAI, endpoint: ScriptedEndpoint) -> None:
    """A refused call counts in none of them, and a decorator begins a budget at each call."""

    @budget(calls=1)
    def twice() -> None:
        ask(client)
        ask(client)

    with budget(calls=3) as outer:
        for _ in range(2):
            with pytest.raises(BudgetExceeded) as inner:
                twice()
            assert inner.value.limit == 1
        ask(client)
        with pytest.raises(BudgetExceeded) as last:
            twice()
        assert last.value.limit == 3
        assert outer.used.calls == 3

    assert len(endpoint.exchanges) == 3


def test_a_session_has_one_budget_in_all_its_blocks(client: OpenAI) -> None:
    """Blocks with the id of a session count together; another session has its own."""
    for session, sent in (("one", True), ("one", False), ("two", True)):
        with budget(calls=1, session=session):
            if sent:
                ask(client)
            else:
                with pytest.raises(BudgetExceeded):
                    ask(client)


def test_a_call_that_a_framework_records_counts_too(
    client: OpenAI, endpoint: ScriptedEndpoint, recorder: SpanRecorder
) -> None:
    """The client's own span is left out for that of the framework, and its tokens count all the same."""
    adoption = adopt("some.framework", is_on=lambda: True)
    tracer = recorder.provider.get_tracer("some.framework")
    try:
        with budget(calls=2) as block:
            for _ in range(2):
                with tracer.start_as_current_span("call", attributes={"gen_ai.operation.name": "chat"}):
                    ask(client)
            with (
                tracer.start_as_current_span("call", attributes={"gen_ai.operation.name": "chat"}),
                pytest.raises(BudgetExceeded),
            ):
                ask(client)
    finally:
        adoption.undo()

    assert replace(block.used, seconds=0) == Used(tokens=2 * tokens_of(endpoint), calls=2)
    assert [span.name for span in recorder.spans] == ["call"] * 3


def test_a_sessions_block_is_held_by_the_budget_around_it(client: OpenAI) -> None:
    """The blocks around each use of a session hold, not those around its first one, and each has its own bounds."""
    with budget(calls=2, session="held"):
        ask(client)
    with budget(calls=1) as outer, budget(calls=9, session="held") as inner:
        ask(client)
        with pytest.raises(BudgetExceeded) as caught:
            ask(client)
        assert (caught.value.limit, outer.used.calls, inner.used.calls) == (1, 1, 2)
    with budget(calls=2, session="held"), pytest.raises(BudgetExceeded):
        ask(client)


def test_a_refusal_survives_pickling() -> None:
    """Workers of queues and pools pass exceptions on as pickles."""
    error = BudgetExceeded("calls", 3, Used(calls=3), "chat")
    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.bound, copy.limit, copy.used, copy.span_name) == (
        str(error),
        "calls",
        3,
        error.used,
        "chat",
    )


def test_dollars_and_seconds_hold_too(client: OpenAI) -> None:
    """The price list decides for dollars, and the clock for seconds."""
    for bounds in ({"usd": 1e-9}, {"seconds": 0.05}):
        with budget(**bounds) as block:  # type: ignore[arg-type]
            ask(client)
            threading.Event().wait(0.06)
            with pytest.raises(BudgetExceeded):
                ask(client)
            assert block.used.unknown == 0


def test_a_budget_that_cannot_hold_says_so(client: OpenAI) -> None:
    """Without an instrumented client, one warning says what to do."""
    program = """
    from pandaprobe_otel.budgets import budget
    for _ in range(2):
        with budget(calls=1):
            pass
    """
    ran = run_python(program, environment(PANDAPROBE_ENABLED="false"), set_up=False)

    assert ran.returncode == 0
    assert ran.stderr.count("budget(...) refuses nothing: no client library is instrumented") == 1


@pytest.mark.parametrize("bound", [0, -1, True, "5", float("nan")])
def test_a_bound_that_is_no_positive_number_is_refused(bound: Any) -> None:
    """The mistake is in the code, so it is raised at once."""
    with pytest.raises(ValueError, match="a bound is a number above 0"):
        budget(calls=bound)
