"""`init()`: one line in an app. Joins or creates the provider, adds the processor, instruments the libraries."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel import connections
from pandaprobe_otel.capture import first_use
from pandaprobe_otel.config.resolve import Config, ExportSettings
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.pipeline.interface import IdlePipeline, Pipeline
from pandaprobe_otel.process.guard import mistake, mistakes
from pandaprobe_otel.process.process_events import end_on_sigterm
from pandaprobe_otel.reporting.delivery_status import Status

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from pandaprobe_otel.capture.handles import TraceHandle
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

_logger = logging.getLogger("pandaprobe_otel")

_ON_SPANS: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CONTENT_SWITCHES: Final = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    _ON_SPANS: "SPAN_ONLY",
}
"""Switches with which the official instrumentations write messages on spans. Set only where the user set nothing."""


class PandaProbe:
    """The handle that `init` returns: flush, shut down, and read the counts of spans."""

    def __init__(self, pipeline: Pipeline, config: Config) -> None:
        self._pipeline = pipeline
        self._config = config

    @property
    def enabled(self) -> bool:
        """Return whether traces are sent."""
        return self._config.usable

    @property
    def is_shut_down(self) -> bool:
        """Return whether `shutdown` was called, here or by the provider."""
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
        """Deliver what can be delivered within `timeout` seconds, then stop; `init()` starts anew.

        Returns True when nothing was dropped. What was dropped is counted, and named in one log line. The end of
        the process does this by itself. Default timeout: the setting `shutdown_timeout_s`.
        """
        return self._pipeline.shutdown(timeout)

    def trace(self, name: str, **options: Any) -> TraceHandle:
        """`pandaprobe_otel.start_trace`, which the official SDK's client has as a method; same arguments."""
        from pandaprobe_otel.capture.public_names import start_trace

        return start_trace(name, **options)

    def score(self, trace_id: str | UUID | None, name: str, value: float | bool | str, **options: Any) -> None:
        """`pandaprobe_otel.score`, which the official SDK's client has as a method; same arguments.

        Raises InvalidRequest when the score cannot be one.
        """
        from pandaprobe_otel.capture.scores import score_with

        score_with(self, trace_id, name, value, **options)

    def send_score(self, body: Mapping[str, Any]) -> None:
        """Send a score (a body of POST /evaluations/trace-scores) as soon as its trace is stored; returns at once."""
        self._pipeline.put_score(body)

    def trace_url(self, trace_id: str | UUID | None = None) -> str | None:
        """`pandaprobe_otel.trace_url`, of this handle's destination."""
        from pandaprobe_otel.capture.trace_context import current_trace_id

        wanted = current_trace_id() if trace_id is None else str(trace_id)
        return None if wanted is None else self._pipeline.trace_url(wanted)

    def status(self) -> Status:
        """Read the counts of spans, the server's answers, the settings and what is instrumented."""
        from pandaprobe_otel.registry import instrumented

        hooked = {result.name: f"{result.state}: {result.reason}".rstrip(": ") for result in instrumented()}
        status = self._pipeline.status()
        return dataclasses.replace(status, instrumented=hooked, problems=(*status.problems, *mistakes()))

    def __repr__(self) -> str:
        if not self.enabled:
            return "<PandaProbe: not sending>"
        return f"<PandaProbe: project {self._config.project_name!r} at {self._config.destination}>"


_PROVIDERS: Final = frozenset({"tracer_provider", "meter_provider"})
_lock = threading.Lock()
_current: PandaProbe | None = None
_is_unasked = False
"""True if `_current` comes from a first use, not from a call of `init`."""


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
    replayable: bool | None = None,
    mask: Any = None,
    compute_cost: bool | None = None,
    sample_rate: float | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    local: str | os.PathLike[str] | None = None,
    spool: str | None = None,
    redis_url: str | None = None,
    console: bool | None = None,
    live: bool | None = None,
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

    Joins the app's `TracerProvider` (or creates one when there is none, and never replaces one), and instruments the
    supported libraries that are installed. Does no network I/O and starts no thread.

    A second call changes nothing and returns the first one's handle. It takes effect only if the first one had no API
    key or was shut down, or if a decorator or wrapper started the tracing before any call.

    An argument that is left out comes from its environment variable, then from the configuration file, then from the
    default. The table of settings lists all of them.

    Args:
        api_key: The API key, or a function that returns it and is asked again when the server refuses the key.
        project_name: The project of the traces; PandaProbe creates it on the first request. Default: `default`.
        endpoint: Base URL of PandaProbe. Default: the hosted service.
        environment: Deployment environment written into each trace, such as `production`.
        release: Version of the app written into each trace.
        service_name: `service.name` of the provider, if this call creates it.
        enabled: False traces nothing and sends nothing. Default: True.
        instrument: `"auto"` (default) for all supported libraries that are installed, names of some, or False.
        exclude: Names of libraries that `instrument="auto"` leaves alone.
        spans: `"agent"` (default) for traces of agents and models only, `"all"`, or a function that says which spans.
        capture: `"all"` (default), `"metadata"` without inputs and outputs, `"off"`, or one of these by kind of span.
        replayable: True keeps each model call's parameters and answer, so that a test can be made of the trace.
        mask: Regular expressions or functions that remove text before it leaves the process.
        compute_cost: True computes costs that no span states from a price list (extra `cost`).
        sample_rate: Share of the traces to send, 0 to 1, decided by the trace id. Default: 1.
        tracer_provider: The provider to join, if it is not the global one.
        meter_provider: Records OpenTelemetry's GenAI metrics: tokens, duration, time to the first chunk. Default: none.
        local: A file: traces are written there, without a key, and nothing is sent.
        spool: A directory in which waiting traces survive crashes and restarts. Default: memory only.
        redis_url: Redis through which machines share the limit of one key.
        console: True also prints each finished trace as a tree to standard error.
        live: True tells a local PandaProbe of spans that run; False never does. Default: one on this machine.
        debug: True sets the log level of `pandaprobe_otel` to DEBUG.
        strict: True raises ConfigError for a setting that cannot be used. Default: one warning.
        max_traces_per_day: Most traces that this process posts in 24 hours; each is billed.
        verify: Share of the delivered traces to look up afterwards; a lost one is sent again. Default: 0.
        handle_sigterm: True delivers what waits when the process gets SIGTERM, then exits with 143.
        batch_size: Accepted for users of the official SDK, without effect: a complete trace is sent at once.
        flush_interval: Accepted for users of the official SDK, without effect.
        max_queue_size: Accepted for users of the official SDK, without effect: memory is bounded in bytes.

    Returns:
        The handle to flush, shut down, and read the counts of spans.

    Raises:
        ConfigError: with `strict=True` (or `PANDAPROBE_STRICT=true`), if a setting cannot be used. Otherwise one
            warning names the setting, its source and the remedy, and the app goes on untraced.
    """
    arguments = {name: value for name, value in locals().items() if value is not None and name not in _PROVIDERS}
    first_use.forestall()
    return _init(arguments, tracer_provider, meter_provider)


def begin_from_environment() -> None:
    """Do what `init()` does, for an app that has not called it; a call that says something else takes its place."""
    _init({"strict": False}, None, is_unasked=True)


def _init(
    arguments: Mapping[str, Any],
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None = None,
    *,
    is_unasked: bool = False,
) -> PandaProbe:
    global _current, _is_unasked
    with _lock:
        config = Config.resolve(arguments)
        if _current is not None:
            if _current_counts(_current, config, arguments, tracer_provider or meter_provider):
                if meter_provider is not None:
                    mistake("init() was called before, and its first call counts: meter_provider of this one ignored.")
                return _current
            _retire(_current)
        if config.strict and config.problems:
            raise ConfigError(" ".join(problem.message for problem in config.problems))
        if config.debug:
            _logger.setLevel(logging.DEBUG)
        if not arguments.keys().isdisjoint(("batch_size", "flush_interval", "max_queue_size")):
            _logger.info("batch_size, flush_interval and max_queue_size have no effect in pandaprobe-otel")
        _current, _is_unasked = _set_up(config, arguments, tracer_provider, meter_provider), is_unasked
        return _current


def _current_counts(
    first: PandaProbe, config: Config, arguments: Mapping[str, Any], provider: TracerProvider | MeterProvider | None
) -> bool:
    """Return whether a later call of `init` changes nothing, which is said where it was meant to.

    One that could not work, for want of a key, was none: the cell of a notebook is run again when the key is there.
    Neither does one count that nobody has called, if this one says something else.
    """
    if not first.config.enabled:
        return True
    if not first.enabled:
        return config.problems == first.config.problems
    if first.is_shut_down:
        return False
    if _is_unasked:
        return provider is None and _is_same(first.config, config)
    if ignored := sorted(name for name in arguments if _differs(getattr(first.config, name, None), config, name)):
        mistake(f"init() was called before, and its first call counts: {', '.join(ignored)} of this one ignored.")
    return True


def _is_same(before: Config, config: Config) -> bool:
    return dataclasses.replace(before, strict=config.strict, sources=config.sources) == config


def _retire(handle: PandaProbe) -> None:
    """Deliver what an earlier pipeline holds, beside the app; the end of the process waits for its thread."""
    if handle.enabled and not handle.is_shut_down:
        threading.Thread(target=handle.shutdown, name="pandaprobe-retire", daemon=False).start()


def _differs(before: Any, config: Config, name: str) -> bool:
    now = getattr(config, name, None)
    # A function is another one each time that the line which makes it is run.
    return name != "mask" and before != now and not (callable(before) and callable(now))


def _set_up(
    config: Config,
    arguments: Mapping[str, Any],
    provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
) -> PandaProbe:
    from pandaprobe_otel.pipeline.opening import open_pipeline

    piece = connections.processor_of_the_app(config, provider)
    pipeline = open_pipeline(config, counts_starts=True) if piece is None else piece.pipeline
    if piece is not None:
        _tell_ignored(piece, config, arguments)
    elif config.strict and (problems := pipeline.status().problems):  # masks and vendors' switches, read just now
        raise ConfigError(" ".join(problems))
    if isinstance(pipeline, IdlePipeline):
        return PandaProbe(pipeline, config)
    if config.captures_content:
        _switch_content_on()
    connections.lead(pipeline, config, provider, meter_provider, has_processor=piece is not None)
    if config.handle_sigterm:
        end_on_sigterm()
    _logger.info("pandaprobe-otel: project=%s endpoint=%s", config.project_name, config.destination)
    return PandaProbe(pipeline, config if piece is None else pipeline.config)


def _switch_content_on() -> None:
    """Have the official instrumentations write messages on spans, unless our completion hook takes them."""
    has_hook = os.environ.get("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK") == "pandaprobe"
    for name, value in CONTENT_SWITCHES.items():
        if not (has_hook and name == _ON_SPANS):
            os.environ.setdefault(name, value)


def _tell_ignored(piece: PandaProbeSpanProcessor, config: Config, arguments: Mapping[str, Any]) -> None:
    there = piece.pipeline.config
    of_pieces = arguments.keys() & ExportSettings.__annotations__.keys()
    if ignored := sorted(name for name in of_pieces if _differs(getattr(there, name), config, name)):
        mistake(f"The provider has a PandaProbeSpanProcessor, which counts: {', '.join(ignored)} ignored.")


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
    """Deliver what can be delivered in `timeout` seconds, then stop; True when nothing was dropped."""
    return _current.shutdown(timeout) if _current is not None else True


def trace_url(trace_id: str | UUID | None = None) -> str | None:
    """Return the address of the page of a trace; by default of the one that is open here.

    None outside of a trace, before `init()`, and where no address is known. A local server is asked once, for at most a
    second. For the hosted PandaProbe, set PANDAPROBE_TRACE_URL to the address with `{trace_id}` in it: the API does not
    state the identifiers that it contains.
    """
    return None if _current is None else _current.trace_url(trace_id)


def status() -> Status:
    """Return the counts of spans and the state of delivery; all zero before `init`."""
    if _current is not None:
        return _current.status()
    config = Config.resolve()
    return dataclasses.replace(IdlePipeline(config).status(), problems=("init() was not called",))


def settings_in_use() -> Config | None:
    """The settings of `init`; None before its call. Starts nothing."""
    return None if _current is None else _current.config


def get_client() -> PandaProbe | None:
    """The handle of `init`; before its call that of what the environment asks for, or None (an official name)."""
    if _current is None:
        first_use.begin(quietly=True)
    return _current
