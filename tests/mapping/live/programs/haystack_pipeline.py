"""A Haystack pipeline that retrieves and answers, with Haystack's own spans or under OpenInference."""

import contextlib
import sys

from haystack import Document, Pipeline, tracing
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tracing.utils import coerce_tag_value
from opentelemetry import trace

import pandaprobe_otel


class OpenTelemetryTracer(tracing.Tracer):
    """The bridge to OpenTelemetry from Haystack's documentation."""

    @contextlib.contextmanager
    def trace(self, operation_name, tags=None, parent_span=None):
        with trace.get_tracer("haystack").start_as_current_span(operation_name) as span:
            wrapped = OpenTelemetrySpan(span)
            wrapped.set_tags(tags or {})
            yield wrapped

    def current_span(self):
        return OpenTelemetrySpan(trace.get_current_span())


class OpenTelemetrySpan(tracing.Span):
    """A span that accepts Haystack's tags."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set_tag(self, key, value) -> None:
        self._span.set_attribute(key, coerce_tag_value(value))


def run() -> None:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="Lisbon is windy.", meta={"page": 17})])
    pipeline = Pipeline()
    template = [
        ChatMessage.from_system("Be brief."),
        ChatMessage.from_user("{% for d in documents %}{{ d.content }}{% endfor %} {{ question }}"),
    ]
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("prompt", ChatPromptBuilder(template, required_variables="*"))
    pipeline.add_component("llm", OpenAIChatGenerator(model="gpt-4o-mini"))
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    question = "Weather in Lisbon, by the book?"
    pipeline.run({"retriever": {"query": question}, "prompt": {"question": question}})


if __name__ == "__main__":
    pandaprobe_otel.init(instrument=False)
    if sys.argv[1] == "openinference":
        from openinference.instrumentation.haystack import HaystackInstrumentor

        HaystackInstrumentor().instrument()
    else:
        tracing.tracer.is_content_tracing_enabled = True
        tracing.enable_tracing(OpenTelemetryTracer())
    run()
    pandaprobe_otel.flush(20)
