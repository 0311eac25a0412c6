"""An agent's trace as made by instrumentations: 21 spans in the GenAI conventions, about 32 KB of text.

One agent, eight model calls with their messages, eight tools with arguments and results, four chain steps. The
text is CPython's own documentation (pydoc topics): prose with newlines and quotes, one message in four not ASCII.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

PARAMETERS: Final = {
    "temperature": 0.2,
    "top_p": 0.95,
    "max_tokens": 1024,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.1,
    "seed": 42,
}


def agent_traces(count: int, *, calls: int = 8, chars: int = 600) -> list[Sequence[ReadableSpan]]:
    """Return `count` finished traces with new texts: `calls` model calls of three messages of `chars` characters."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench", "1.0")
    traces: list[Sequence[ReadableSpan]] = []
    for serial in range(count):
        exporter.clear()
        _emit(tracer, random.Random(serial), calls, chars)
        traces.append(exporter.get_finished_spans())
    return traces


@cache
def _corpus() -> str:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics)).encode("ascii", "ignore").decode()
    return re.sub(r" {2,}", " ", text)


def _text(rng: random.Random, length: int) -> str:
    start = rng.randrange(len(_corpus()) - length)
    text = _corpus()[start : start + length]
    return text.replace(" - ", " \u2014 ") + " \U0001f43c" if rng.random() < 0.25 else text


def _parts(*messages: tuple[str, str]) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in messages])


def _emit(tracer: Tracer, rng: random.Random, calls: int, chars: int) -> None:
    with tracer.start_as_current_span("invoke_agent support") as root:
        root.set_attribute("gen_ai.operation.name", "invoke_agent")
        root.set_attribute("gen_ai.agent.name", "support")
        root.set_attribute("gen_ai.conversation.id", f"session-{rng.randrange(97)}")
        root.set_attribute("user.id", f"user-{rng.randrange(31)}")
        root.set_attribute("gen_ai.input.messages", _parts(("user", _text(rng, 300))))
        for call in range(calls):
            _emit_call(tracer, rng, call, chars)
            _emit_tool(tracer, rng, call)
            if call % 2:
                _emit_step(tracer, rng, call)
        root.set_attribute("gen_ai.output.messages", _parts(("assistant", _text(rng, 400))))


def _emit_call(tracer: Tracer, rng: random.Random, call: int, chars: int) -> None:
    roles = ("system", "user", "assistant")
    with tracer.start_as_current_span(f"chat gpt-4o-mini {call}") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.provider.name", "openai")
        span.set_attribute("gen_ai.request.model", "gpt-4o-mini-2024-07-18")
        for name, value in PARAMETERS.items():
            span.set_attribute(f"gen_ai.request.{name}", value)
        span.set_attribute("gen_ai.input.messages", _parts(*((role, _text(rng, chars)) for role in roles)))
        span.set_attribute("gen_ai.response.model", "gpt-4o-mini-2024-07-18")
        span.set_attribute("gen_ai.usage.input_tokens", 412 + call)
        span.set_attribute("gen_ai.usage.output_tokens", 187 + call)
        span.set_attribute("gen_ai.output.messages", _parts(("assistant", _text(rng, 800))))


def _emit_tool(tracer: Tracer, rng: random.Random, call: int) -> None:
    arguments: dict[str, Any] = {
        "order_id": f"A-{call}",
        "fields": ["status", "total", "eta"],
        "reason": _text(rng, 210),
        "retry": False,
        "limit": 5,
    }
    result = {"status": "shipped", "total": 129.9, "items": [1, 2, 3], "note": _text(rng, 220), "ok": True}
    with tracer.start_as_current_span(f"execute_tool lookup_{call}") as span:
        span.set_attribute("gen_ai.operation.name", "execute_tool")
        span.set_attribute("gen_ai.tool.name", f"lookup_{call}")
        span.set_attribute("gen_ai.tool.call.arguments", json.dumps(arguments))
        span.set_attribute("gen_ai.tool.call.result", json.dumps(result))


def _emit_step(tracer: Tracer, rng: random.Random, call: int) -> None:
    with tracer.start_as_current_span(f"step_{call}") as span:
        span.set_attribute("openinference.span.kind", "CHAIN")
        span.set_attribute("input.value", json.dumps({"step": call, "goal": _text(rng, 60)}))
        span.set_attribute("output.value", json.dumps({"next": "llm", "done": False}))
