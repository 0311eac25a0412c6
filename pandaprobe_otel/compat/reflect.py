"""The client with which Reflect of the official SDK (`pandaprobe.reflect.Reflect`) finds the traces of this library.

Reflect opens a scope around each run of an agent, and evaluates the traces of that scope. The official client sees only
its own traces. This client adds the traces of the OpenTelemetry provider, with Reflect's session and role.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from pandaprobe_otel.assembly.encoder import Selection, is_chosen
from pandaprobe_otel.bootstrap import PandaProbe, init
from pandaprobe_otel.capture.trace_context import context
from pandaprobe_otel.delivery.outbox import randomness
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.kinds import is_genai
from pandaprobe_otel.mapping.sdk_span import read_span
from pandaprobe_otel.process.guard import failed

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

MOST_NOTED: Final = 10_000
"""Maximum number of traces that a scope remembers, whether they are sent or not."""
_scope: Final[ContextVar[TraceScope | None]] = ContextVar("pandaprobe_otel.reflect", default=None)


def reflect_client(client: Any = None, *, tracer_provider: TracerProvider | None = None) -> Any:
    """Return the client for `Reflect`: a ReflectClient, although Reflect's types name the official class.

    Args:
        client: The official SDK's client, if the app has one. Default: one with the settings of `init()`.
        tracer_provider: The provider whose spans are sent to PandaProbe, if it is not the global one.

    Raises ConfigError if the settings send no traces to PandaProbe, because it then has none to evaluate.
    """
    handle = init()
    config = handle.config
    provider: Any = tracer_provider or trace.get_tracer_provider()
    if not handle.enabled or config.local is not None or not hasattr(provider, "add_span_processor"):
        raise ConfigError(
            "Reflect evaluates traces in PandaProbe, but no traces are sent there: call init() with a key"
        )
    if client is None:
        import pandaprobe

        key = config.api_key() if callable(config.api_key) else config.api_key
        client = pandaprobe.Client(  # the official client requires a key, even for a local PandaProbe
            api_key=key or "local", project_name=config.project_name, endpoint=config.endpoint
        )
    scopes = _Scopes(config.spans, config.sample_rate)
    provider.add_span_processor(scopes)
    return ReflectClient(client, handle, scopes)


class ReflectClient:
    """The official client, with scopes that also collect the traces of this library."""

    def __init__(self, client: Any, handle: PandaProbe, scopes: _Scopes) -> None:
        self._client = client
        self._handle = handle
        self._scopes = scopes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def capture_traces(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        max_traces: int = 1000,
        on_submit: Any = None,
    ) -> TraceScope:
        """Return a scope that collects traces. `on_submit` receives only those of the official client."""
        theirs = self._client.capture_traces(
            metadata=metadata, session_id=session_id, max_traces=max_traces, on_submit=on_submit
        )
        return TraceScope(self._scopes, theirs, metadata=metadata, session_id=session_id, max_traces=max_traces)

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver the traces of both clients, each within `timeout` seconds; return whether all of ours arrived."""
        self._client.flush(timeout=timeout)
        return self._handle.flush(timeout)


class TraceScope:
    """Traces of a block, by this library or the official SDK, in the order of their start.

    Traces that are sampled out, or left out by the setting `spans`, are omitted, because they can never be evaluated.
    Tasks that continue after the block keep its session and metadata, but their traces are no longer collected.
    """

    def __init__(
        self,
        scopes: _Scopes,
        theirs: Any,
        *,
        metadata: Mapping[str, Any] | None,
        session_id: str | None,
        max_traces: int,
    ) -> None:
        self._scopes = scopes
        self._theirs = theirs
        self._values = context(metadata=metadata)
        self._most = max_traces
        self._token: Token[TraceScope | None] | None = None
        self._blocks = ExitStack()
        self._ours: dict[int, bool] = {}
        self._is_full = False
        self.session_id = session_id
        self.closed = False

    @property
    def trace_ids(self) -> list[str]:
        """Ids of the traces that are or will be in PandaProbe."""
        ours = [trace_uuid(trace_id) for trace_id, is_sent in list(self._ours.items()) if is_sent]
        return list(dict.fromkeys([*ours, *self._theirs.trace_ids]))[: self._most]

    @property
    def overflow(self) -> bool:
        """True if there were more traces than the scope may hold."""
        return (
            self._is_full
            or bool(self._theirs.overflow)
            or sum(self._ours.values()) + len(self._theirs.trace_ids) > self._most
        )

    def began(self, trace_id: int) -> bool:
        """Remember a trace, which may not be sent; return False if the scope is full."""
        if trace_id not in self._ours and len(self._ours) >= MOST_NOTED:
            self._is_full = True
            return False
        self._ours.setdefault(trace_id, False)
        return True

    def is_sent(self, trace_id: int) -> None:
        """Note that a trace is sent."""
        self._ours[trace_id] = True

    def __enter__(self) -> TraceScope:
        if self._token is not None:
            raise RuntimeError("a scope of traces can be entered only once")
        self._blocks.enter_context(self._theirs)
        self._blocks.enter_context(self._values)
        self._token = _scope.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self._scopes.closed(self)
        if self._token is not None:
            _scope.reset(self._token)
        self._blocks.close()

    async def __aenter__(self) -> TraceScope:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class _Scopes(SpanProcessor):
    """Processor that sets the session of a scope on its spans, and reports to the scope which traces are sent."""

    def __init__(self, selection: Selection, sample_rate: float) -> None:
        self._selection = selection
        self._least_randomness = 1.0 - sample_rate
        self._lock = threading.Lock()
        self._open: dict[int, TraceScope] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Report the trace of a span to its scope, and replace the span's session by that of the scope."""
        scope, found = _scope.get(), span.get_span_context()
        if scope is None:
            return
        if scope.session_id is not None:
            span.set_attribute(names.SESSION_ID, scope.session_id)
        if not scope.closed and randomness(found.trace_id) >= self._least_randomness:
            with self._lock:
                if self._open.get(found.trace_id, scope).began(found.trace_id):
                    self._open.setdefault(found.trace_id, scope)

    def on_end(self, span: ReadableSpan) -> None:
        """Report a trace to its scope as sent if this span causes it to be sent."""
        found = span.get_span_context()
        scope = None if found is None else self._open.get(found.trace_id)
        if found is None or scope is None:
            return
        try:
            if self._is_sent(span):
                scope.is_sent(found.trace_id)
        except Exception as error:  # noqa: BLE001 - runs for every span of the app; counted and logged
            failed("a trace of Reflect", error)

    def closed(self, scope: TraceScope) -> None:
        """Forget a scope."""
        with self._lock:
            self._open = {trace_id: each for trace_id, each in self._open.items() if each is not scope}

    def _is_sent(self, span: ReadableSpan) -> bool:
        if callable(self._selection):
            return is_chosen(self._selection, span)
        return self._selection == "all" or is_genai(read_span(span))
