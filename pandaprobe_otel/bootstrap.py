"""`init()`: one line in an app. Joins or creates the provider, adds the processor, instruments the libraries."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel.config import Config, ExportSettings
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.pipeline import IdlePipeline, Pipeline
from pandaprobe_otel.process_life import end_on_sigterm
from pandaprobe_otel.status_report import Status

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from pandaprobe_otel.decorators import TraceHandle

_logger = logging.getLogger("pandaprobe_otel")

CONTENT_SWITCHES: Final = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
"""What the official instrumentations need to write messages on spans. Set only where the user has set nothing."""
_SPAN_ATTRIBUTE_LIMIT: Final = 4096
"""The SDK's default of 128 silently drops messages of a long chat in the dialects that write one attribute each."""


class PandaProbe:
    """What `init` returns: flush, shut down, and see what became of the spans."""

    def __init__(self, pipeline: Pipeline, config: Config) -> None:
        self._pipeline = pipeline
        self._config = config

    @property
    def enabled(self) -> bool:
        """Whether traces are sent."""
        return self._config.usable

    @property
    def is_shut_down(self) -> bool:
        """Whether `shutdown` was called, here or by the provider."""
        return self._pipeline.is_closed

    @property
    def config(self) -> Config:
        """The settings, with the source of each."""
        return self._config

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver every trace whose root span has ended.

        Returns within `timeout` seconds: True when all of them were delivered, False when some still wait.
        """
        return self._pipeline.flush(timeout)

    async def aflush(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - the bound of `flush`, not of the task
        """`flush` for event loops: other tasks go on meanwhile. Cancelled, the delivery goes on in the background."""
        import asyncio

        return await asyncio.to_thread(self.flush, timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds, then stop for good.

        Returns True when nothing was dropped. What was dropped is counted, and named in one log line. The end of
        the process does this by itself. Default timeout: the setting `shutdown_timeout_s`.
        """
        return self._pipeline.shutdown(timeout)

    def trace(self, name: str, **options: Any) -> TraceHandle:
        """`pandaprobe_otel.start_trace`, which the official SDK's client has as a method; same arguments."""
        from pandaprobe_otel.decorators import start_trace

        return start_trace(name, **options)

    def score(self, trace_id: str | UUID | None, name: str, value: float | bool | str, **options: Any) -> None:
        """`pandaprobe_otel.score`, which the official SDK's client has as a method; same arguments.

        Raises InvalidRequest when the score cannot be one.
        """
        from pandaprobe_otel.scores import NO_TRACE, score_body

        body = score_body(NO_TRACE if trace_id is None else trace_id, name, value, **options)
        if trace_id is not None:
            self.send_score(body)

    def send_score(self, body: Mapping[str, Any]) -> None:
        """Send a score (a body of POST /evaluations/trace-scores) as soon as its trace is stored; returns at once."""
        self._pipeline.put_score(body)

    def status(self) -> Status:
        """Read the counts of spans, the server's answers, the settings and what is instrumented."""
        from pandaprobe_otel.registry import instrumented

        hooked = {result.name: f"{result.state}: {result.reason}".rstrip(": ") for result in instrumented()}
        return dataclasses.replace(self._pipeline.status(), instrumented=hooked)

    def __repr__(self) -> str:
        if not self.enabled:
            return "<PandaProbe: not sending>"
        return f"<PandaProbe: project {self._config.project_name!r} at {self._config.destination}>"


_lock = threading.Lock()
_current: PandaProbe | None = None


def init(
    *,
    api_key: str | Callable[[], str] | None = None,
    project_name: str | None = None,
    endpoint: str | None = None,
    environment: str | None = None,
    release: str | None = None,
    service_name: str | None = None,
    enabled: bool | None = None,
    instrument: Literal["auto"] | bool | Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    spans: Literal["agent", "all"] | Callable[[ReadableSpan], bool] | None = None,
    capture: Literal["all", "metadata", "off"] | Mapping[str, str] | None = None,
    mask: Any = None,
    compute_cost: bool | None = None,
    sample_rate: float | None = None,
    tracer_provider: TracerProvider | None = None,
    local: str | os.PathLike[str] | None = None,
    spool: str | None = None,
    redis_url: str | None = None,
    console: bool | None = None,
    debug: bool | None = None,
    strict: bool | None = None,
    max_traces_per_day: int | None = None,
    verify: float | None = None,
    handle_sigterm: bool | None = None,
    batch_size: int | None = None,
    flush_interval: float | None = None,
    max_queue_size: int | None = None,
) -> PandaProbe:
    """Send this app's agent traces to PandaProbe.

    Joins the app's `TracerProvider` (or the one given, or creates one when there is none), never replaces it;
    instruments the supported libraries that are installed. Does no network I/O and starts no thread. A second
    call changes nothing and returns the first one's handle, unless that one could not work (no API key). Every
    argument has an environment variable (see the configuration table).

    With `local="traces.jsonl"` traces are written to that file, without a key and without a server;
    `pandaprobe-otel view` shows it, `replay` sends it.

    `batch_size`, `flush_interval` and `max_queue_size` are those of the official SDK; they are accepted so that its
    users need not change the call, and have no effect: a trace is sent when it is complete, and memory is bounded
    in bytes.

    Raises:
        ConfigError: only with `strict=True` (or `PANDAPROBE_STRICT=true`), when a setting cannot be used. Otherwise
            one warning names the setting, its source and the remedy, and the app goes on untraced.
    """
    arguments = {name: value for name, value in locals().items() if value is not None and name != "tracer_provider"}
    global _current
    with _lock:
        config = Config.resolve(arguments)
        if _current is not None and _first_call_counts(_current, config, arguments):
            return _current
        if config.strict and config.problems:
            raise ConfigError(" ".join(problem.message for problem in config.problems))
        if config.debug:
            _logger.setLevel(logging.DEBUG)
        if not arguments.keys().isdisjoint(("batch_size", "flush_interval", "max_queue_size")):
            _logger.info("batch_size, flush_interval and max_queue_size have no effect in pandaprobe-otel")
        _current = _join_a_piece(config, arguments, tracer_provider) or _set_up(config, tracer_provider)
        return _current


def _join_a_piece(config: Config, arguments: Mapping[str, Any], provider: TracerProvider | None) -> PandaProbe | None:
    """Take the span processor of ours that the app's provider has already: a second one would send all of it again."""
    from opentelemetry import trace

    from pandaprobe_otel.tracers import use_tracer_provider
    from pandaprobe_otel.tracing.pieces import pieces_in

    target: Any = provider or trace.get_tracer_provider()
    for piece in pieces_in(getattr(target, "_active_span_processor", None)):
        if config.usable and piece.sees_starts and piece.pipeline.destination == config.destination:
            there = piece.pipeline.config
            of_pieces = arguments.keys() & ExportSettings.__annotations__.keys()
            if ignored := sorted(name for name in of_pieces if _differs(getattr(there, name), config, name)):
                _say_once(f"The provider has a PandaProbeSpanProcessor, which counts: {', '.join(ignored)} ignored.")
            if provider is not None:
                use_tracer_provider(provider)
            return _prepared(piece.pipeline, config, target)
    return None


def _first_call_counts(first: PandaProbe, config: Config, arguments: Mapping[str, Any]) -> bool:
    """Whether a later call of `init` changes nothing, which is said where it was meant to.

    One that could not work, for want of a key, was none: the cell of a notebook is run again when the key is there.
    """
    if not first.config.enabled:
        return True
    if not first.enabled:
        return config.problems == first.config.problems
    if first.is_shut_down:
        _say_once("shutdown() stops for good: init() after it has no effect, and no traces are sent. Use flush().")
    elif ignored := sorted(name for name in arguments if _differs(getattr(first.config, name, None), config, name)):
        _say_once(f"init() was called before, and its first call counts: {', '.join(ignored)} of this one ignored.")
    return True


def _differs(before: Any, config: Config, name: str) -> bool:
    now = getattr(config, name, None)
    # A function is another one each time that the line which makes it is run.
    return name != "mask" and before != now and not (callable(before) and callable(now))


_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _logger.warning("pandaprobe-otel: %s", message)


def _set_up(config: Config, provider: TracerProvider | None) -> PandaProbe:
    from pandaprobe_otel.pipeline import open_pipeline

    pipeline = open_pipeline(config, counts_starts=True)
    if config.strict and (problems := pipeline.status().problems):  # masks and vendors' switches, read just now
        raise ConfigError(" ".join(problems))
    if isinstance(pipeline, IdlePipeline):
        return PandaProbe(pipeline, config)
    return _prepared(pipeline, config, _add_processor(pipeline, config, provider))


def _prepared(pipeline: Pipeline, config: Config, joined: TracerProvider | None) -> PandaProbe:
    """What is done beside the span processor."""
    from pandaprobe_otel.id_generator import draw_from_system

    if config.captures_content:
        for name, value in CONTENT_SWITCHES.items():
            os.environ.setdefault(name, value)
    if joined is not None:
        draw_from_system(joined)
    _add_log_processor(pipeline)
    _instrument(config, joined)
    if config.handle_sigterm:
        end_on_sigterm()
    _logger.info("pandaprobe-otel: project=%s endpoint=%s", config.project_name, config.destination)
    return PandaProbe(pipeline, pipeline.config)


def _add_processor(pipeline: Pipeline, config: Config, provider: TracerProvider | None) -> TracerProvider | None:
    from opentelemetry import trace

    from pandaprobe_otel.tracers import use_tracer_provider
    from pandaprobe_otel.tracing import PandaProbeSpanProcessor

    target: Any = provider or trace.get_tracer_provider()
    if not hasattr(target, "add_span_processor"):
        if not isinstance(target, trace.ProxyTracerProvider):
            _logger.warning(
                "pandaprobe-otel: the app's tracer provider (%s) takes no span processors; no traces are sent. "
                "Pass tracer_provider=... with one of the OpenTelemetry SDK.",
                type(target).__name__,
            )
            return None
        target = _new_provider(config)
        trace.set_tracer_provider(target)
    elif provider is not None:
        use_tracer_provider(provider)  # the decorators' spans go there too, although it is not the global one
    target.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    return target  # type: ignore[no-any-return]


def _add_log_processor(pipeline: Pipeline) -> None:
    """Hear the instrumentations that write messages as log records; one provider is made when there is none."""
    from opentelemetry import _logs

    from pandaprobe_otel.tracing.log_processor import PandaProbeLogProcessor

    target: Any = _logs.get_logger_provider()
    if not hasattr(target, "add_log_record_processor"):
        if type(target).__name__ != "ProxyLoggerProvider":  # the API's stand-in, which it does not export
            return
        from opentelemetry.sdk._logs import LoggerProvider

        target = LoggerProvider()
        _logs.set_logger_provider(target)
    target.add_log_record_processor(PandaProbeLogProcessor(pipeline))
    _forward_events(target)


def _forward_events(logger_provider: Any) -> None:
    """Until OpenTelemetry 1.38, events went through a provider of their own, which nobody else connects to the logs."""
    # From 1.39 on until they were removed, OpenTelemetry warned of these modules; that is not the app's to see.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        try:
            events: Any = import_module("opentelemetry._events")
            sdk: Any = import_module("opentelemetry.sdk._events")
        except ImportError:
            return
        if type(events.get_event_logger_provider()).__name__ == "ProxyEventLoggerProvider":
            events.set_event_logger_provider(sdk.EventLoggerProvider(logger_provider))


def _new_provider(config: Config) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider

    described = {
        "service.name": config.service_name,
        "deployment.environment.name": config.environment,
        "service.version": config.release,
    }
    limits = None if "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in os.environ else _SPAN_ATTRIBUTE_LIMIT
    return TracerProvider(
        resource=Resource.create({name: value for name, value in described.items() if value}),
        span_limits=SpanLimits(max_span_attributes=limits),
    )


def _instrument(config: Config, provider: TracerProvider | None) -> None:
    if config.instrument is False:
        return
    from pandaprobe_otel.registry import instrument_all

    instrument_all(config.instrument, config.exclude, tracer_provider=provider)


def current() -> PandaProbe | None:
    """The handle of `init`, or None before it was called."""
    return _current


def forget(handle: PandaProbe) -> None:
    """Let a later `init()` count, if this handle is the one of the first and does not send."""
    global _current
    with _lock:
        if _current is handle and not handle.enabled:
            _current = None


def flush(timeout: float = 30.0) -> bool:
    """Deliver every trace whose root span has ended; True when all were, in `timeout` seconds at most."""
    return _current.flush(timeout) if _current is not None else True


async def aflush(timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - the bound of `flush`, not of the task
    """`flush` for event loops."""
    return await _current.aflush(timeout) if _current is not None else True


def shutdown(timeout: float | None = None) -> bool:
    """Deliver what can be delivered in `timeout` seconds, then stop for good; True when nothing was dropped."""
    return _current.shutdown(timeout) if _current is not None else True


def status() -> Status:
    """What became of the spans; all zero before `init`."""
    if _current is not None:
        return _current.status()
    config = Config.resolve()
    return dataclasses.replace(IdlePipeline(config).status(), problems=("init() was not called",))


def get_client() -> PandaProbe | None:
    """The handle of `init`, or None before it was called (the official SDK's name for it)."""
    return _current
