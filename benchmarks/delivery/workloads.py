"""Four shapes of agent traces, as data, and their emission by instrumentations or users of the official SDK.

    W1  21 spans, about 32 KB: an agent, eight model calls with their messages, eight tools, four steps
    W2  three tiny spans
    W3  2,000 spans
    W4  two spans, one of them with a prompt of 200 KB

The text is CPython's own documentation (pydoc topics): prose with newlines and quotes, one message in four not ASCII.
Every string is a new object, as in an app, so that the memory of pipelines that keep references is counted.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

Message = dict[str, str]
PARAMETERS: Final = {
    "temperature": 0.2,
    "top_p": 0.95,
    "max_tokens": 1024,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.1,
    "seed": 42,
}
_CALL: Final[dict[str, Any]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
    **{f"gen_ai.request.{name}": value for name, value in PARAMETERS.items()},
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": 412,
    "gen_ai.usage.output_tokens": 187,
}
_ROLES: Final = ("system", "user", "assistant", "user")


@dataclass(slots=True)
class Step:
    """One span below the root. `given` and `got` are messages for a model call, plain objects otherwise."""

    name: str
    kind: str
    given: Any
    got: Any


@dataclass(slots=True)
class Story:
    """One trace, as a root and its steps."""

    name: str
    question: str
    answer: str
    session: str | None = None
    steps: list[Step] = field(default_factory=list[Step])


@dataclass(frozen=True, slots=True)
class Workload:
    """The size of a shape's sample: spans of a trace, traces in total, and traces between two flushes.

    The traces between two flushes are few enough for every queue.
    """

    name: str
    spans: int
    traces: int
    chunk: int


WORKLOADS: Final = {
    each.name: each
    for each in (
        Workload("W1", 21, 160, 80),
        Workload("W2", 3, 1500, 300),
        Workload("W3", 2000, 4, 1),
        Workload("W4", 2, 60, 20),
    )
}


def stories(workload: str, count: int, first: int = 0) -> list[Story]:
    """Return `count` traces of a workload, each with its own text."""
    make = {"W1": _agent, "W2": _tiny, "W3": _long, "W4": _big}[workload]
    return [make(random.Random(7_000_003 + serial), serial) for serial in range(first, first + count)]


def _agent(rng: random.Random, serial: int) -> Story:
    steps: list[Step] = []
    for call in range(8):
        steps.append(_model_call(rng, call, 3, 600))
        steps.append(_tool_call(rng, call, serial))
        if call % 2:
            steps.append(Step(f"step_{call}", "CHAIN", {"step": call, "goal": _text(rng, 60)}, {"next": "llm"}))
    return Story("support-agent", _text(rng, 300), _text(rng, 400), f"session-{serial % 97}", steps)


def _tiny(rng: random.Random, serial: int) -> Story:
    steps = [
        Step("fetch", "TOOL", {"k": serial}, {"v": 1}),
        Step("route", "CHAIN", {"n": 1}, {"next": "end"}),
    ]
    return Story("tiny", f"q{serial}", "ok", None, steps)


def _long(rng: random.Random, serial: int) -> Story:
    steps = [
        Step(f"step_{i}", "TOOL" if i % 2 else "CHAIN", {"i": i, "arg": _text(rng, 80)}, {"ok": True, "rows": i})
        for i in range(1999)
    ]
    return Story("long-run", f"job {serial}", "done", None, steps)


def _big(rng: random.Random, serial: int) -> Story:
    return Story("big-context", f"summarise {serial}", "done", None, [_model_call(rng, 0, 1, 200_000)])


def _model_call(rng: random.Random, call: int, messages: int, chars: int) -> Step:
    given: list[Message] = [
        {"role": _ROLES[index % 4], "content": _text(rng, chars, rng.random() < 0.25)} for index in range(messages)
    ]
    got: list[Message] = [{"role": "assistant", "content": _text(rng, 800, rng.random() < 0.25)}]
    return Step(f"chat gpt-4o-mini {call}", "LLM", given, got)


def _tool_call(rng: random.Random, call: int, serial: int) -> Step:
    given = {
        "order_id": f"A-{serial}-{call}",
        "fields": ["status", "total", "eta"],
        "reason": _text(rng, 210),
        "limit": 5,
    }
    got = {"status": "shipped", "total": 129.9, "items": [1, 2, 3], "note": _text(rng, 220), "ok": True}
    return Step(f"lookup_order_{call}", "TOOL", given, got)


@cache
def _corpus() -> str:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics)).encode("ascii", "ignore").decode()
    return re.sub(r" {2,}", " ", text)


def _text(rng: random.Random, length: int, fancy: bool = False) -> str:
    start = rng.randrange(max(1, len(_corpus()) - length))
    text = _corpus()[start : start + length]
    return text.replace(" - ", " \u2014 ") + " \U0001f43c" if fancy else text


# -- emission ---------------------------------------------------------------------------------------------------------


def emit_otel(tracer: Any, story: Story) -> None:
    """Emit as an instrumentation does: attributes of the GenAI conventions, messages as JSON text."""
    start = tracer.start_as_current_span
    with start("invoke_agent " + story.name) as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("gen_ai.agent.name", story.name)
        if story.session:
            root.set_attribute("gen_ai.conversation.id", story.session)
        root.set_attribute("gen_ai.input.messages", _parts([{"role": "user", "content": story.question}]))
        for step in story.steps:
            with start(step.name) as span:
                _EMITTERS[step.kind](span, step)
        root.set_attribute("gen_ai.output.messages", _parts([{"role": "assistant", "content": story.answer}]))


def _emit_model_call(span: Any, step: Step) -> None:
    for name, value in _CALL.items():
        span.set_attribute(name, value)
    span.set_attribute("gen_ai.input.messages", _parts(step.given))
    span.set_attribute("gen_ai.output.messages", _parts(step.got))


def _emit_tool(span: Any, step: Step) -> None:
    span.set_attribute("gen_ai.operation.name", "execute_tool")
    span.set_attribute("gen_ai.tool.name", step.name)
    span.set_attribute("gen_ai.tool.call.arguments", json.dumps(step.given))
    span.set_attribute("gen_ai.tool.call.result", json.dumps(step.got))


def _emit_chain(span: Any, step: Step) -> None:
    span.set_attribute("openinference.span.kind", "CHAIN")
    span.set_attribute("input.value", json.dumps(step.given))
    span.set_attribute("output.value", json.dumps(step.got))


_EMITTERS: Final = {"LLM": _emit_model_call, "TOOL": _emit_tool, "CHAIN": _emit_chain}


def _parts(messages: list[Message]) -> str:
    return json.dumps(
        [{"role": each["role"], "parts": [{"type": "text", "content": each["content"]}]} for each in messages]
    )


def emit_sdk(sdk: Any, story: Story) -> None:
    """Emit as a user of the official SDK does: its context managers, with the objects themselves."""
    asked = {"messages": [{"role": "user", "content": story.question}]}
    answered = {"messages": [{"role": "assistant", "content": story.answer}]}
    with sdk.start_trace(story.name, input=asked, session_id=story.session) as trace:
        with trace.span(story.name, kind="AGENT") as root:
            root.set_input(asked)
            for step in story.steps:
                if step.kind == "LLM":
                    with trace.span(step.name, kind="LLM", model="gpt-4o-mini-2024-07-18") as span:
                        span.set_input({"messages": step.given})
                        span.set_model_parameters(PARAMETERS)
                        span.set_output({"messages": step.got})
                        span.set_token_usage(prompt_tokens=412, completion_tokens=187)
                else:
                    with trace.span(step.name, kind=step.kind) as span:
                        span.set_input(step.given)
                        span.set_output(step.got)
            root.set_output(answered)
        trace.set_output(answered)
