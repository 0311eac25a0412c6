"""Spans that a framework makes of its own model calls, in place of the client's spans below them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from opentelemetry.context import get_current
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import use_span

from pandaprobe_otel_integrations._patching import OriginalCall
from pandaprobe_otel_integrations._spans import Adoption, adopt, is_taken
from pandaprobe_otel_integrations.google_adk import SCOPE, SpanHooks
from span_recorder import SpanRecorder


@pytest.fixture
def recorder() -> SpanRecorder:
    """Return a recorder with a provider of its own."""
    return SpanRecorder()


@pytest.fixture
def adopted() -> Iterator[Adoption]:
    """Adopt the spans of the scope `some.framework`."""
    adoption = adopt("some.framework", is_on=lambda: True)
    yield adoption
    adoption.undo()


@pytest.mark.parametrize(
    ("scope", "operation", "taken"),
    [
        ("some.framework", "chat", True),
        ("some.framework", "generate_content", True),
        ("some.framework", "embeddings", True),
        ("some.framework", "execute_tool", False),
        ("some.framework", "invoke_agent", False),
        ("an.app", "chat", False),
    ],
)
def test_which_spans_stand_for_a_call(
    scope: str, operation: str, taken: bool, recorder: SpanRecorder, adopted: Adoption
) -> None:
    """Only model-call spans of the adopted scope replace the client's; agent spans do not, since tools call models."""
    with recorder.provider.get_tracer(scope).start_as_current_span(
        "a", attributes={"gen_ai.operation.name": operation}
    ):
        assert is_taken(get_current()) is taken
    assert not is_taken(get_current())


def test_a_span_that_has_ended_stands_for_nothing(recorder: SpanRecorder, adopted: Adoption) -> None:
    """A client's call below an ended span is recorded."""
    span = recorder.provider.get_tracer("some.framework").start_span("a", attributes={"gen_ai.operation.name": "chat"})
    with use_span(span):
        assert is_taken(get_current())
        span.end()
        assert not is_taken(get_current())


def test_an_adoption_ends_and_pauses(recorder: SpanRecorder) -> None:
    """An adoption pauses while `is_on` is false, and a second adoption of the same scope outlives the first."""
    states = {"on": True}
    first, second = adopt("some.framework", is_on=lambda: states["on"]), adopt("some.framework", is_on=lambda: True)
    tracer = recorder.provider.get_tracer("some.framework")
    with tracer.start_as_current_span("a", attributes={"gen_ai.operation.name": "chat"}):
        second.undo()
        assert is_taken(get_current())
        states["on"] = False
        assert not is_taken(get_current())
        first.undo()
        assert not is_taken(get_current())


def test_a_span_that_is_not_sampled_stands_for_nothing(adopted: Adoption) -> None:
    """An unsampled span replaces no client's span, since it records nothing."""
    tracer = SpanRecorder(ALWAYS_OFF).provider.get_tracer("some.framework")
    with tracer.start_as_current_span("a", attributes={"gen_ai.operation.name": "chat"}):
        assert not is_taken(get_current())


def test_another_vendors_words(recorder: SpanRecorder, adopted: Adoption) -> None:
    """A span of OpenInference is recognised by its model's name, since it has a kind only at its end."""
    tracer = recorder.provider.get_tracer("some.framework")
    with tracer.start_as_current_span("llm", attributes={"llm.model_name": "m"}):
        assert is_taken(get_current())
    with tracer.start_as_current_span("agent", attributes={"input.value": "m"}):
        assert not is_taken(get_current())


def test_the_span_around_a_model_call_of_older_adk_is_no_call(recorder: SpanRecorder) -> None:
    """ADK's span `call_llm`, around the model call before 2.13, is a step; the app's span of that name is unchanged."""
    hooks = SpanHooks(lambda: None, lambda _: None)
    for scope in (SCOPE, "an.app"):
        with recorder.provider.get_tracer(scope).start_as_current_span("call_llm"):
            hooks.model_call(nullcontext(), OriginalCall(nullcontext, None, (), {}))
    kinds = [dict(span.attributes or {}) for span in recorder.spans]
    assert kinds == [{"pandaprobe.span.kind": "CHAIN"}, {}]
