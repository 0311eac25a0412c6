"""OpenTelemetry spans for the `anthropic` client, on Anthropic's API, Bedrock, Vertex and Foundry."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)

from pandaprobe_otel.capture.wrapping import Scope
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import call_in
from pandaprobe_otel_integrations._json import Content, encoded, obj
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.endpoints import PostedEndpoints
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch, replace, when_imported
from pandaprobe_otel_integrations._rivals import LangSmithWrapper, known_rivals
from pandaprobe_otel_integrations._servers import place_of
from pandaprobe_otel_integrations._spans import is_claimed
from pandaprobe_otel_integrations._stainless import StainlessIntegration
from pandaprobe_otel_integrations._tool_loop import (
    AdoptedLoop,
    LoopHooks,
    ToolLoop,
    ToolRun,
    arguments,
    result,
)
from pandaprobe_otel_integrations.anthropic.messages import Messages, tool_result

__all__ = ["AnthropicInstrumentor"]


# -- the platforms that serve Anthropic's models -----------------------------------------------------------------------

_PLATFORMS: Final = {
    "AnthropicBedrock": "aws.bedrock",
    "AnthropicAWS": "aws.bedrock",
    "AnthropicFoundry": "azure.ai.inference",
    "AnthropicVertex": "gcp.vertex_ai",
}


# -- calls that another vendor's instrumentation has begun: the client's own span of the call goes below its span ------

_BEGUN: Final[ContextVar[weakref.ref[SdkSpan] | None]] = ContextVar("pandaprobe_vendors_span", default=None)
"""The vendor's last span in this context, until the client has made its own span below it."""
_watched: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def watch_calls(provider: Any, modules: Sequence[str]) -> None:
    """Note the spans that these modules of vendors begin with this provider."""
    if hasattr(provider, "add_span_processor") and provider not in _watched:
        _watched.add(provider)
        provider.add_span_processor(_VendorCalls(tuple(modules)))


def below_vendors_span(tracer: Tracer) -> Tracer:
    """Return a tracer whose next span is below the vendor's span; the same tracer if none is open or it is current."""
    begun = _BEGUN.get()
    span = None if begun is None else begun()
    if span is None or not span.is_recording() or span is get_current_span():
        return tracer
    return _Below(tracer, span)


class _VendorCalls(SpanProcessor):
    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        scope = span.instrumentation_scope
        if scope is not None and scope.name.startswith(self._modules):
            _BEGUN.set(weakref.ref(span))

    def on_end(self, span: ReadableSpan) -> None:
        pass


class _Below(Tracer):
    def __init__(self, tracer: Tracer, above: SdkSpan) -> None:
        self._tracer = tracer
        self._above = above

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        _BEGUN.set(None)
        return self._tracer.start_span(*args, **{"context": set_span_in_context(self._above), **kwargs})

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer.start_as_current_span(*args, **kwargs)


# -- the tracer that the client gets for a recorded call: the existing span replaces the client's own ------------------


class _StandingIn(Tracer):
    """A tracer that makes no span: the client writes the current span into the request's headers, not its own."""

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        """Return a stand-in for the current span, which accepts no attributes and does not end."""
        return NonRecordingSpan(get_current_span().get_span_context())

    @contextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Generator[Span]:  # type: ignore[override]
        """Return a stand-in for the current span, which stays current."""
        yield self.start_span()


STANDING_IN: Final = _StandingIn()


# -- the tool runner of the beta messages: it calls the model, runs the app's functions, and calls the model again -----

MODULE: Final = "anthropic.lib.tools._beta_runner"
_OWN_SCOPE: Final = "com.anthropic.sdk.python"


class ToolRunnerHooks(LoopHooks):
    """Wrappers of the steps of both runners. `makes_spans` returns whether a client makes the spans itself."""

    def __init__(self, recorder: Recorder, makes_spans: Callable[[Any], bool]) -> None:
        super().__init__(recorder)
        self._makes_spans = makes_spans

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return patches of both runners, and of each function call in versions where it is a method."""
        for runner in (module.BaseSyncToolRunner, module.BaseAsyncToolRunner):
            yield patch(runner, "__run__", self.turns)
            if "_run_tool" in runner.__dict__:
                yield patch(runner, "_run_tool", self.function)

    def client(self, original: OriginalCall) -> Any:
        """Return the runner's client."""
        return original.owner._client  # pyright: ignore[reportPrivateUsage]

    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin a loop, with the client's own span if it makes one."""
        if self._makes_spans(self.client(original)):
            return AdoptedLoop(lambda: getattr(original.owner, "_tool_runner_span", None))
        return ToolLoop(self.recorder, obj(original.owner._params).get("model"))  # pyright: ignore[reportPrivateUsage]

    def tool(self, loop: ToolLoop, original: OriginalCall) -> Scope | None:
        """Begin the function that a block calls."""
        asked = original.arg(1, "tool_use")
        if isinstance(loop, AdoptedLoop):
            return _AdoptedTool(asked.input) if self.recorder.with_content else None
        return ToolRun(self.recorder, asked.name, asked.input, call_id=asked.id, result_of=_result)


class _AdoptedTool(Scope):
    """The client's span of a function call, which is current and lacks arguments and result."""

    def __init__(self, given: Any) -> None:
        self._write(arguments(obj(given)))

    def returned(self, value: Any, /) -> None:
        guarded(lambda: self._write(result(_result(value))))

    def _write(self, content: Content) -> None:
        span: Any = get_current_span()
        scope = getattr(getattr(span, "instrumentation_scope", None), "name", "")
        if scope.startswith(_OWN_SCOPE) and span.is_recording():
            span.set_attributes(encoded(content))


def _result(made: Any) -> Any:
    return tool_result(made["content"])


class AnthropicInstrumentor(StainlessIntegration):
    """Messages, sync and async, in every form they are called, beta and platform clients included.

    From 1.14, the client makes its own spans, without content by default and never with streamed output. It makes none
    for a call that is recorded here, or by a framework's instrumentation into the same tracer provider, so that each
    call has one span. The request's trace headers then name the recorded span. The client's spans of other work
    (token counts, sessions, tool runners) stay, and those of tool runners get the messages.

    See `Integration` for the options of `instrument()`.
    """

    library = "anthropic"
    hooked_modules = ("anthropic._base_client", MODULE)
    repeated_by = ("logfire.anthropic",)
    rivals = known_rivals("anthropic", LangSmithWrapper())
    posted = PostedEndpoints({"/messages": Messages()})

    def place(self, client: Any) -> Attributes:
        """Return the provider from the client's class, and the server from its base URL."""
        name = type(client).__name__.removeprefix("Async")
        provider = next((found for start, found in _PLATFORMS.items() if name.startswith(start)), "anthropic")
        return place_of(client.base_url, provider)

    def _instrument(self, **kwargs: Any) -> None:
        super()._instrument(**kwargs)
        for rival in self.rivals:
            when_imported(rival.module, self._watch_vendor)

    def _watch_vendor(self, module: ModuleType) -> None:
        if self._open:
            watch_calls(self._tracer_provider or get_tracer_provider(), [rival.module for rival in self.rivals])

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == MODULE:
            hooks = ToolRunnerHooks(self._recorder, self._makes_spans)
            yield from hooks.patches(module)
            return
        yield from super()._hook(module)
        own: Any = getattr(module.BaseClient, "_tracer", None)
        if isinstance(own, property):
            yield replace(module.BaseClient, "_tracer", property(self._silent_for_our_calls(own)))

    def _silent_for_our_calls(self, own: property) -> Any:
        def tracer(client: Any) -> Any:
            context = get_current()
            if call_in(context, client) is not None or is_claimed(context):
                if self._shares_provider(client):
                    return own.__get__(client) and STANDING_IN
                if _records_nothing(client):
                    return None
            made = own.__get__(client)
            if made is None or (rival := self._active_rival()) is None or not self._shares_provider(client):
                return made
            return STANDING_IN if isinstance(rival, LangSmithWrapper) else below_vendors_span(made)

        return tracer

    def _makes_spans(self, client: Any) -> bool:
        """Return whether the client makes its own spans with the same provider as ours."""
        return getattr(client, "_tracer", None) is not None and self._shares_provider(client)

    def _shares_provider(self, client: Any) -> bool:
        return _provider_of(client) is (self._tracer_provider or get_tracer_provider())


def _provider_of(client: Any) -> TracerProvider:
    theirs: TracerProvider | None = client._open_telemetry.get("tracer_provider")  # pyright: ignore[reportPrivateUsage]
    return theirs or get_tracer_provider()


def _records_nothing(client: Any) -> bool:
    """Return whether the client has no provider: its span would only write headers into the request."""
    provider = _provider_of(client)
    unset = isinstance(provider, ProxyTracerProvider) and provider is get_tracer_provider()
    return unset or isinstance(provider, NoOpTracerProvider)
