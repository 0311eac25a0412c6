"""Instrumentations of other vendors for the same library: no call is recorded by both, whichever came first."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation, unwrap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer

from conformance.adapter import Adapter, adapters
from conformance.cases import CASES
from pandaprobe_otel import PandaProbeSpanExporter, PandaProbeSpanProcessor
from pandaprobe_otel.registry import INTEGRATIONS, instrument, instrumented, uninstrument
from pandaprobe_otel_integrations import _rivals as rivals_module
from pandaprobe_otel_integrations.anthropic import AnthropicInstrumentor
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer
from span_recorder import SpanRecorder
from streamed_forms import Sighting, finished

READ = next(case for case in CASES if case.name == "read to the end")
FIRST = {adapter.integration: adapter for adapter in reversed(adapters())}
"""The first adapter of each library."""


def _rivals() -> Iterator[Any]:
    """Yield the first and the last rival of each library; the same code looks up those between them."""
    for name, adapter in sorted(FIRST.items()):
        path, _, kind = INTEGRATIONS[name].partition(":")
        rivals = [each for each in getattr(importlib.import_module(path), kind).rivals if each.vendor != "LangSmith"]
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        for first, rival in (("ours", rivals[0]), ("theirs", rivals[-1])):
            yield pytest.param(adapter, rival, first, id=f"{name} {rival.vendor} {first}", marks=marks)


class _Active:
    """An active instrumentor in the form of OpenTelemetry's base class."""

    _is_instrumented_by_opentelemetry = True
    _instance: Any = None


@contextmanager
def _active(rival: Any) -> Iterator[None]:
    """Import a stand-in for the rival's module, with its instrumentor active."""
    module: Any = ModuleType(rival.module)
    _Active._instance = _Active()
    module.Instrumentor = _Active
    clients: Any = ModuleType("langfuse._client.resource_manager")
    clients.LangfuseResourceManager = SimpleNamespace(_instances={"pk": SimpleNamespace(tracing_enabled=True)})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, rival.module, module)
        if rival.vendor == "Langfuse":
            patched.setitem(sys.modules, clients.__name__, clients)
        yield


@pytest.mark.parametrize(("adapter", "rival", "first"), [*_rivals()])
def test_one_of_both(adapter: Adapter, rival: Any, first: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """While the rival is active, our integration is skipped with a reason; afterwards, it records again."""
    server.replies(READ.reply(adapter, False))
    with adapter.client(server.url, 20.0) as client:
        try:
            if first == "ours":
                instrument(adapter.integration, tracer_provider=recorder.provider)
            with _active(rival):
                if first == "theirs":
                    instrument(adapter.integration, tracer_provider=recorder.provider)
                finished(adapter.calls["plain"](client, Sighting()))
                assert recorder.spans == []
                assert [(one.state, rival.module in one.reason) for one in instrumented()] == [("skipped", True)]
            finished(adapter.calls["plain"](client, Sighting()))
            assert recorder.one().name == adapter.expected.span_name
            assert [one.state for one in instrumented()] == ["hooked"]
        finally:
            uninstrument(adapter.integration)


# -- a rival with another provider, and a rival that is uninstrumented ------------------------------------------------

OPENAI = FIRST["openai"]
OPENINFERENCE = next(rival for rival in OpenAIInstrumentor.rivals if rival.vendor == "OpenInference")


class _Vendor(BaseInstrumentor):
    """A vendor that wraps the client as OpenInference does: an inherited function, restored to its former value."""

    wraps = ("openai", "OpenAI.request")

    def instrumentation_dependencies(self) -> list[str]:
        return []

    def _instrument(self, **kwargs: Any) -> None:
        tracer = get_tracer(OPENINFERENCE.module, tracer_provider=kwargs["tracer_provider"])

        def request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            with tracer.start_as_current_span("theirs"):
                return wrapped(*args, **kwargs)

        self._before = openai.OpenAI.request
        wrapt.wrap_function_wrapper(*self.wraps, request)

    def _uninstrument(self, **kwargs: Any) -> None:
        openai.OpenAI.request = self._before  # type: ignore[method-assign]


class _UnwrappingVendor(_Vendor):
    """A vendor that wraps the base class's function and removes the outermost wrapper, as OpenTelemetry's does."""

    wraps = ("openai._base_client", "SyncAPIClient.request")
    _instance: Any = None  # separate from the base class's singleton

    def _uninstrument(self, **kwargs: Any) -> None:
        unwrap(openai._base_client.SyncAPIClient, "request")


@contextmanager
def _real(vendor: type[_Vendor]) -> Iterator[_Vendor]:
    module: Any = ModuleType(OPENINFERENCE.module)
    module.OpenAIInstrumentor = vendor
    instrumentor = vendor()
    original = openai._base_client.SyncAPIClient.__dict__["request"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, OPENINFERENCE.module, module)
        patched.setattr(instrumentor, "_is_instrumented_by_opentelemetry", False)
        try:
            yield instrumentor
        finally:
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
            # removing wrappers in another order than they were added leaves empty ones behind
            openai._base_client.SyncAPIClient.request = original  # type: ignore[method-assign]
            if "request" in openai.OpenAI.__dict__:
                del openai.OpenAI.request


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("vendor", [_Vendor, _UnwrappingVendor])
def test_a_rival_whose_spans_go_elsewhere_does_not_count(
    vendor: type[_Vendor], first: str, server: ProviderServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """If a rival sends its spans elsewhere, PandaProbe gets each call once, as a whole trace."""
    server.replies(READ.reply(OPENAI, False))
    path = tmp_path / "traces.jsonl"
    processor = PandaProbeSpanProcessor(local=path)
    ours, theirs, kept = TracerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False), _Kept()
    ours.add_span_processor(processor)
    theirs.add_span_processor(SimpleSpanProcessor(kept))
    with OPENAI.client(server.url, 20.0) as client, _real(vendor) as rival, caplog.at_level("INFO"):
        steps = [
            lambda: instrument("openai", tracer_provider=ours),
            lambda: rival.instrument(tracer_provider=theirs, skip_dep_check=True),
        ]
        for step in steps if first == "ours" else reversed(steps):
            step()
        try:
            for _ in range(2):
                finished(OPENAI.calls["plain"](client, Sighting()))
            assert [one.state for one in instrumented()] == ["hooked"]
        finally:
            uninstrument("openai")
    assert processor.force_flush(60_000)
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    assert [[(span["name"], span.get("parent_span_id")) for span in trace["spans"]] for trace in traces] == [
        [(OPENAI.expected.span_name, None)]
    ] * 2
    assert kept.names == ["theirs"] * 2
    assert [record.levelname for record in caplog.records if "sends its spans elsewhere" in record.message] == ["INFO"]


def test_a_rival_of_another_provider_that_also_sends_to_us_counts(
    server: ProviderServer, recorder: SpanRecorder, tmp_path: Path
) -> None:
    """Our integration is skipped if the rival's provider has our exporter too: PandaProbe would get calls twice."""
    server.replies(READ.reply(OPENAI, False))
    theirs = TracerProvider(shutdown_on_exit=False)
    theirs.add_span_processor(BatchSpanProcessor(PandaProbeSpanExporter(local=tmp_path / "traces.jsonl")))
    with OPENAI.client(server.url, 20.0) as client, _real(_Vendor) as rival:
        instrument("openai", tracer_provider=recorder.provider)
        rival.instrument(tracer_provider=theirs, skip_dep_check=True)
        try:
            finished(OPENAI.calls["plain"](client, Sighting()))
            assert [one.state for one in instrumented()] == ["skipped"]
        finally:
            uninstrument("openai")
    assert recorder.spans == []
    theirs.shutdown()
    assert len((tmp_path / "traces.jsonl").read_text().splitlines()) == 1


def test_who_gets_both_is_warned_once(
    server: ProviderServer, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """If both providers export to the same backend, which then gets each call twice, one warning says so."""
    server.replies(READ.reply(OPENAI, False))
    theirs = TracerProvider(shutdown_on_exit=False)
    for provider in (theirs, recorder.provider):
        provider.add_span_processor(SimpleSpanProcessor(_Kept("http://phoenix:6006/v1/traces")))
    with OPENAI.client(server.url, 20.0) as client, _real(_Vendor) as rival:
        rival.instrument(tracer_provider=theirs, skip_dep_check=True)
        instrument("openai", tracer_provider=recorder.provider)
        try:
            for _ in range(2):
                finished(OPENAI.calls["plain"](client, Sighting()))
        finally:
            uninstrument("openai")
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    assert len(warned) == 1
    assert "http://phoenix:6006/v1/traces" in warned[0]
    assert len(recorder.spans) == 2


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("vendor", [_Vendor, _UnwrappingVendor])
def test_a_rival_that_leaves_takes_nothing_of_ours_along(
    vendor: type[_Vendor], first: str, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """An active rival records calls alone, then we do; after both are uninstrumented, the client is unchanged."""
    server.replies(READ.reply(OPENAI, False))
    before = openai._base_client.SyncAPIClient.__dict__["request"]
    with OPENAI.client(server.url, 20.0) as client, _real(vendor) as rival:
        steps = [
            lambda: instrument("openai", tracer_provider=recorder.provider),
            lambda: rival.instrument(tracer_provider=recorder.provider, skip_dep_check=True),
        ]
        for step in steps if first == "ours" else reversed(steps):
            step()
        try:
            finished(OPENAI.calls["plain"](client, Sighting()))
            assert [span.name for span in recorder.spans] == ["theirs"]
            rival.uninstrument()
            finished(OPENAI.calls["plain"](client, Sighting()))
            assert [span.name for span in recorder.spans] == ["theirs", OPENAI.expected.span_name]
        finally:
            uninstrument("openai")
        assert openai._base_client.SyncAPIClient.__dict__["request"] is before
        assert "uninstrument" not in vars(rival)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_repetitions_are_left_out(first: str, server: ProviderServer, tmp_path: Path) -> None:
    """Logfire's two spans of a call are left out, although Logfire turns other instrumentations off inside them.

    Without our integration, they arrive.
    """
    server.replies(READ.reply(OPENAI, False))
    path, provider = tmp_path / "traces.jsonl", TracerProvider(shutdown_on_exit=False)
    processor = PandaProbeSpanProcessor(local=path)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("logfire.openai")

    def request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
        with tracer.start_as_current_span("Chat Completion", attributes=attributes), suppress_instrumentation():
            answer = wrapped(*args, **kwargs)
        tracer.start_span("streaming response", attributes=attributes).end()
        return answer

    before = openai._base_client.SyncAPIClient.__dict__["request"]
    with OPENAI.client(server.url, 20.0) as client:
        steps: list[Callable[[], Any]] = [
            lambda: instrument("openai", tracer_provider=provider),
            lambda: wrapt.wrap_function_wrapper("openai", "OpenAI.request", request),
        ]
        for step in steps if first == "ours" else reversed(steps):
            step()
        try:
            finished(OPENAI.calls["plain"](client, Sighting()))
            with provider.get_tracer("app").start_as_current_span("agent"):
                finished(OPENAI.calls["plain"](client, Sighting()))
            assert processor.force_flush(60_000)
            uninstrument("openai")
            finished(OPENAI.calls["plain"](client, Sighting()))
        finally:
            uninstrument("openai")
            openai._base_client.SyncAPIClient.request = before  # type: ignore[method-assign]
            del openai.OpenAI.request
    assert processor.force_flush(60_000)
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    ours, theirs = OPENAI.expected.span_name, ["Chat Completion", "streaming response"]
    assert sorted([span["name"] for span in trace["spans"]] for trace in traces) == sorted(
        [[ours], ["agent", ours], *([name] for name in theirs)]
    )
    assert [trace["spans"][1].get("parent_span_id") for trace in traces if len(trace["spans"]) == 2] == [
        trace["spans"][0]["span_id"] for trace in traces if len(trace["spans"]) == 2
    ]


ANTHROPIC = FIRST["anthropic"]
OF_ANTHROPIC = AnthropicInstrumentor.rivals[1]


class _AnthropicVendor(BaseInstrumentor):
    """A vendor that does not make its span current, as OpenLLMetry's."""

    _instance: Any = None

    def instrumentation_dependencies(self) -> list[str]:
        return []

    def _instrument(self, **kwargs: Any) -> None:
        tracer = get_tracer(OF_ANTHROPIC.module, tracer_provider=kwargs["tracer_provider"])

        def create(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": kwargs["model"]}
            span = tracer.start_span("theirs", attributes=attributes)
            try:
                return wrapped(*args, **kwargs)
            finally:
                span.end()

        wrapt.wrap_function_wrapper("anthropic.resources.messages", "Messages.create", create)

    def _uninstrument(self, **kwargs: Any) -> None:
        unwrap(anthropic.resources.messages.Messages, "create")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_clients_own_span_is_part_of_the_vendors(first: str, server: ProviderServer, tmp_path: Path) -> None:
    """While a vendor records a client that makes spans itself, each call is one span, in one trace."""
    server.replies(READ.reply(ANTHROPIC, False))
    path, provider = tmp_path / "traces.jsonl", TracerProvider(shutdown_on_exit=False)
    processor = PandaProbeSpanProcessor(local=path)
    provider.add_span_processor(processor)
    vendor, module = _AnthropicVendor(), ModuleType(OF_ANTHROPIC.module)
    module.AnthropicInstrumentor = _AnthropicVendor  # type: ignore[attr-defined]
    tools = (
        {"tracer_provider": provider},
        {"tracer_provider": provider, "skip_dep_check": True},
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("anthropic._tracing.trace.get_tracer_provider", lambda: provider)
        patched.setattr("pandaprobe_otel_integrations.anthropic.get_tracer_provider", lambda: provider)
        if first == "theirs":
            patched.setitem(sys.modules, OF_ANTHROPIC.module, module)
            vendor.instrument(**tools[1])
        instrument("anthropic", **tools[0])
        if first == "ours":
            patched.setitem(sys.modules, OF_ANTHROPIC.module, module)
            importlib.import_module("wrapt.importer").notify_module_loaded(module)
            vendor.instrument(**tools[1])
        try:
            with ANTHROPIC.client(server.url, 20.0) as client:
                for _ in range(2):
                    finished(ANTHROPIC.calls["plain"](client, Sighting()))
        finally:
            vendor.uninstrument()
            uninstrument("anthropic")
    assert processor.force_flush(60_000)
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    assert [[span["name"] for span in trace["spans"]] for trace in traces] == [["theirs"]] * 2
    assert all(trace["spans"][0]["token_usage"] for trace in traces)


class _Kept(InMemorySpanExporter):
    def __init__(self, endpoint: str | None = None) -> None:
        super().__init__()
        self._endpoint = endpoint

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.get_finished_spans()]


@pytest.mark.parametrize(
    ("installed", "variables", "emits"),
    [
        ("0.7.9", {"OTEL_ONLY": "true"}, False),
        ("0.7.9", {"OTEL_ENABLED": "true"}, True),
        ("0.7.9", {"OTEL_ONLY": "true", "OTEL_ENABLED": "true"}, True),
        ("0.7.9", {"TRACING_MODE": "otel"}, False),
        ("0.8.0", {"OTEL_ONLY": "true"}, True),
        ("0.15.1", {"TRACING_MODE": "hybrid"}, True),
        ("0.15.1", {"TRACING_MODE": "langsmith", "OTEL_ENABLED": "true"}, False),
        ("0.15.1", {}, False),
    ],
)
def test_langsmith_counts_where_its_version_emits_spans(
    installed: str, variables: dict[str, str], emits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LangSmith counts as a rival only with settings that make its version emit spans (read in langsmith's source)."""
    utils: Any = ModuleType("langsmith.utils")
    utils.get_env_var = variables.get
    utils.is_truish = lambda value: value in ("true", "1")
    utils.tracing_is_enabled = lambda: True
    monkeypatch.setitem(sys.modules, "langsmith.utils", utils)
    monkeypatch.setattr("pandaprobe_otel_integrations._rivals.version", lambda name: installed)
    rivals_module._has_modes.cache_clear()
    try:
        assert rivals_module.LangSmithTracing().is_active() is emits
    finally:
        rivals_module._has_modes.cache_clear()
