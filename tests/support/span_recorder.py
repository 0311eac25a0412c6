"""Spans of a real OpenTelemetry SDK, kept in memory, with shortcuts to read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import Tracer

from pandaprobe_otel.capture.tracers import use_tracer_provider

_RESOURCE: Final = Resource.create()
"""One for all recorders: OpenTelemetry starts threads to make it, which takes longer than most tests."""


class SpanRecorder:
    """A tracer provider of its own, whose finished spans can be found by name."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, resource=_RESOURCE)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = self.provider.get_tracer("somebody.else")

    @property
    def spans(self) -> list[ReadableSpan]:
        """Finished spans in the order of their end."""
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """Names of the finished spans in the order of their end."""
        return [span.name for span in self.spans]

    def clear(self) -> None:
        """Forget what has been recorded so far."""
        self._exporter.clear()

    def one(self, name: str | None = None) -> ReadableSpan:
        """Return the only finished span (of that name)."""
        (found,) = [span for span in self.spans if name is None or span.name == name]
        return found

    def attributes(self, name: str | None = None) -> dict[str, Any]:
        """Return the attributes of the only finished span (of that name)."""
        return dict(self.one(name).attributes or {})

    def json(self, attribute: str, name: str | None = None) -> Any:
        """Return the decoded JSON text of one of these attributes."""
        return json.loads(self.attributes(name)[attribute])

    def input(self, name: str | None = None) -> Any:
        """Return the decoded input of the only finished span (of that name)."""
        return self.json("pandaprobe.input", name)

    def output(self, name: str | None = None) -> Any:
        """Return the decoded output of the only finished span (of that name)."""
        return self.json("pandaprobe.output", name)

    def input_of(self, span: ReadableSpan) -> Any:
        """Return the decoded input of this span."""
        return json.loads(str((span.attributes or {})["pandaprobe.input"]))

    def output_of(self, span: ReadableSpan) -> Any:
        """Return the decoded output of this span."""
        return json.loads(str((span.attributes or {})["pandaprobe.output"]))

    def parent_of(self, span: ReadableSpan) -> str | None:
        """Return the name of the span's parent among the finished spans, None for a root."""
        if span.parent is None:
            return None
        wanted = span.parent.span_id
        return next(s.name for s in self.spans if s.context is not None and s.context.span_id == wanted)

    def tree(self) -> dict[str, str | None]:
        """Return the name of each finished span's parent, by the name of the span. Names must differ."""
        assert len(set(self.names)) == len(self.names)
        return {span.name: self.parent_of(span) for span in self.spans}


def answer_text(attributes: Mapping[str, Any]) -> str:
    """Return the model's words in a span, thoughts included; "" if it recorded none."""
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    return "".join(part["content"] for message in messages for part in message["parts"])


@contextmanager
def recording(sampler: Sampler = ALWAYS_ON) -> Iterator[SpanRecorder]:
    """Record the decorators' spans while the block runs."""
    recorder = SpanRecorder(sampler)
    use_tracer_provider(recorder.provider)
    try:
        yield recorder
    finally:
        use_tracer_provider(None)
        recorder.provider.shutdown()
