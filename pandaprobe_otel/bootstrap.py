"""`init()`: set up tracing in one line. Joins or creates the provider, adds the processor, instruments libraries."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel import connections
from pandaprobe_otel.capture.executors import carry_context
from pandaprobe_otel.capture.factories import start_trace
from pandaprobe_otel.capture.scores import score_with
from pandaprobe_otel.capture.trace_context import current_project, current_trace_id
from pandaprobe_otel.capture.tracers import forestall_first_use
from pandaprobe_otel.config.parsers import unusable
from pandaprobe_otel.config.resolve import Config, Problem
from pandaprobe_otel.config.settings import OF_RECEIVERS
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.pipeline.opening import IdlePipeline, Pipeline, open_pipeline
from pandaprobe_otel.process.background import start_thread
from pandaprobe_otel.process.forks import ForkedWhileLoadingError, loading
from pandaprobe_otel.process.guard import mistake, mistakes, pass_on
from pandaprobe_otel.process.process_events import end_on_sigterm
from pandaprobe_otel.registry import instrumented
from pandaprobe_otel.reporting.delivery_status import Status

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from pandaprobe_otel.capture.handles import TraceHandle

_logger = logging.getLogger("pandaprobe_otel")

CONTENT_SWITCHES: Final = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
"""Switches that make the official instrumentations write messages on spans. Set only if the user has not set them."""


class PandaProbe:
    """The handle that `init` returns: flush, shut down, and read the counts of spans."""

    def __init__(self, pipeline: Pipeline, config: Config) -> None:
        self._pipeline = pipeline
        self.config = config
        """The settings, with the source of each."""

    @property
    def enabled(self) -> bool:
        """Return whether traces are sent."""
        return self.config.usable

    @property
    def is_shut_down(self) -> bool:
        """Return whether `shutdown` was called, here or by the provider."""
        return self._pipeline.is_closed

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver every trace whose root span has ended.

        Return within `timeout` seconds: True if PandaProbe accepted all, False if some still wait.
        """
        return self._pipeline.flush(timeout)

    async def aflush(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - the bound of `flush`, not of the task
        """`flush` for event loops: other tasks go on meanwhile. If cancelled, delivery goes on in the background."""
        import asyncio  # loaded, because a loop runs; else it would take 11 ms

        return await asyncio.to_thread(self.flush, timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver as much as possible within `timeout` seconds, then stop. A later `init()` starts anew.

        Return True if nothing was dropped. Drops are counted and reported in one log line. The end of the process
        causes a shutdown automatically. Default timeout: the setting `shutdown_timeout_s`.
        """
        return self._pipeline.shutdown(timeout)

    def trace(self, name: str, **options: Any) -> TraceHandle:
        """Same as `pandaprobe_otel.start_trace`, with the same arguments; the official SDK's client has this method."""
        return start_trace(name, **options)

    def score(self, trace_id: str | UUID | None, name: str, value: float | bool | str, **options: Any) -> None:
        """Same as `pandaprobe_otel.score`, with the same arguments; the official SDK's client has this method.

        Raises InvalidRequest if the score is invalid.
        """
        score_with(self, trace_id, name, value, **options)

    def send_score(self, body: Mapping[str, Any]) -> None:
        """Send a score (a body of POST /evaluations/trace-scores) as soon as its trace is stored; returns at once."""
        self._pipeline.put_score(body, current_project())

    def trace_url(self, trace_id: str | UUID | None = None) -> str | None:
        """Same as `pandaprobe_otel.trace_url`, for this handle's destination."""
        wanted = current_trace_id() if trace_id is None else str(trace_id)
        return None if wanted is None else self._pipeline.trace_url(wanted)

    def status(self) -> Status:
        """Return the counts of spans, the server's answers, the settings and the instrumented libraries."""
        hooked = {result.name: f"{result.state}: {result.reason}".rstrip(": ") for result in instrumented()}
        status = self._pipeline.status()
        return dataclasses.replace(status, instrumented=hooked, problems=(*status.problems, *mistakes()))

    def __repr__(self) -> str:
        if not self.enabled:
            return "<PandaProbe: not sending>"
        return f"<PandaProbe: project {self.config.project_name!r} at {self.config.destination}>"


_lock = threading.Lock()
_current: PandaProbe | None = None
_is_unasked = False
"""True if `_current` comes from a first use, not from a call of `init`."""


# scripts/write_docs.py writes the arguments and their meanings from the declaration of the settings.
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
    media: Literal["digest", "inline"] | None = None,
    capture: Literal["all", "metadata", "off"] | Mapping[str, str] | None = None,
    replayable: bool | None = None,
    mask: Any = None,
    scrub: bool | Literal["all"] | None = None,
    threads: bool | None = None,
    compute_cost: bool | None = None,
    sample_rate: float | None = None,
    local: str | os.PathLike[str] | None = None,
    spool: str | os.PathLike[str] | None = None,
    redis_url: str | None = None,
    console: bool | None = None,
    debug: bool | None = None,
    strict: bool | None = None,
    live: bool | None = None,
    trace_url: str | None = None,
    max_traces_per_day: int | None = None,
    handle_sigterm: bool | None = None,
    max_queue_bytes: int | None = None,
    max_spool_bytes: int | None = None,
    shutdown_timeout_s: float | None = None,
    tracer_provider: TracerProvider | None = None,
) -> PandaProbe:
    """Send this app's agent traces to PandaProbe.

    Joins the app's `TracerProvider`, or creates one if there is none; never replaces one. Instruments the installed
    libraries that are supported. Does no network I/O and starts no thread.

    A second call changes nothing and returns the handle of the first one. It takes effect only if the first call had
    no API key or was shut down, or if a decorator or wrapper started the tracing before any call.

    An argument that is left out comes from its environment variable, else from the configuration file, else from the
    default.

    Args:
        api_key: API key, or a function that returns it and is asked again when the server refuses the key.
        project_name: Project of the traces; PandaProbe creates it on the first request. Default: `default`.
        endpoint: Base URL of PandaProbe: the hosted service, your own, or a local one. Default:
            `https://api.pandaprobe.com`.
        environment: Deployment environment written into each trace, such as `production`.
        release: Version of the app written into each trace.
        service_name: `service.name` of the provider, if `init` creates it.
        enabled: False traces nothing and sends nothing. Default: `True`.
        instrument: `auto` for every supported library that is installed, a list of names, or False. Default: `auto`.
        exclude: Names of libraries that `instrument=auto` leaves alone.
        spans: `agent` for traces of agents and models, without HTTP and database spans; `all`; or a function. Default:
            `agent`.
        media: Pictures, sound and files in messages. `digest`: their type, size and SHA-256. `inline`: their data, up
            to 262,144 characters of base64 each. Not set: `inline` for a PandaProbe on this machine, else `digest`.
        capture: `all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. By
            kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`. Default: `all`.
        replayable: True keeps the parameters and the answer of each model call on its span (64 kB at most, after `mask`
            and `capture`), so that `pandaprobe-otel replay capture` rebuilds them exactly.
        mask: Regular expressions or functions that remove text before it leaves the process.
        scrub: True replaces well-known credentials (API keys, tokens, passwords in URLs) in errors, URLs and headers;
            `all`: in every text; False: in none. Default: `True`.
        threads: True carries the context into the tasks of a `ThreadPoolExecutor`, so that their spans belong to the
            caller's trace. Default: `True`.
        compute_cost: True computes missing costs from a price list (extra `cost`), and marks them as computed.
        sample_rate: Share of the traces to keep, 0 to 1, decided by the trace id. Default: `1.0`.
        local: File that traces are written to as JSON lines, without a key, instead of being sent; `send` sends them
            later.
        spool: Directory in which waiting traces survive the process. Without one, they wait in memory.
        redis_url: Redis through which machines share the limit of one key (redis://, rediss:// or unix://).
        console: True also prints each finished trace as a tree to standard error.
        debug: True sets the log level of `pandaprobe_otel` to DEBUG.
        strict: True makes `init` raise ConfigError for a bad setting, instead of warning.
        live: Tell a local PandaProbe about running spans, for its pages. True: any server that says it is local; False:
            none; not set: one on this machine.
        trace_url: Address of a trace's page, with `{trace_id}` in it, for links. None: a local server states its own.
        max_traces_per_day: Maximum number of traces that this process posts in 24 hours; each is billed. Default: no
            maximum.
        handle_sigterm: True delivers waiting traces on SIGTERM and exits with 143, in a program that does not handle
            SIGTERM. Web servers do: under them, traces are delivered without this setting.
        max_queue_bytes: Maximum memory for open and waiting traces, in bytes. Default: `67108864`.
        max_spool_bytes: Maximum disk space for waiting traces in the spool, in bytes; the oldest are dropped first.
            Default: `536870912`.
        shutdown_timeout_s: Longest wait for delivery at the end of the process, in seconds. Default: `5.0`.
        tracer_provider: Provider to join, if it is not the global one.

    Returns:
        The handle to flush, shut down, and read the counts of spans.

    Raises:
        ConfigError: with `strict=True` (or `PANDAPROBE_STRICT=true`), if a setting cannot be used. Otherwise one
            warning names the setting, its source and the remedy, and the app goes on untraced.
    """
    arguments = {name: value for name, value in locals().items() if value is not None and name != "tracer_provider"}
    forestall_first_use()
    return _init(arguments, tracer_provider)


def begin_from_environment() -> None:
    """Start as `init()` does, for an app that has not called it. A later call with other settings replaces this one."""
    _init({"strict": False}, None, is_unasked=True)


def _init(
    arguments: Mapping[str, Any],
    tracer_provider: TracerProvider | None,
    *,
    is_unasked: bool = False,
) -> PandaProbe:
    """Run `init`. No fork happens meanwhile, so no child gets half of it."""
    global _current, _is_unasked
    try:
        with loading(), _lock:
            config = Config.resolve(arguments)
            if _current is not None:
                if _current_counts(_current, config, arguments, tracer_provider):
                    return _current
                _retire(_current)
            if config.strict and config.problems:
                raise ConfigError(" ".join(problem.message for problem in config.problems))
            if config.debug:
                _logger.setLevel(logging.DEBUG)
            for name, _ in unusable(os.environ):
                del os.environ[name]  # else the SDK would raise, in each provider or already when it is imported
            _current, _is_unasked = _set_up(config, arguments, tracer_provider), is_unasked
            return _current
    except ForkedWhileLoadingError as error:
        config = Config.resolve(arguments)
        _logger.warning("pandaprobe-otel: nothing is sent: %s.", error)
        return PandaProbe(IdlePipeline(config), config)
    except ConfigError:
        raise
    except Exception as error:
        pass_on(error)
        _logger.warning("pandaprobe-otel: init() failed; nothing is traced. Please report this:", exc_info=error)
        config = Config.resolve(arguments)
        fault = Problem(setting="init", message=f"init() failed ({error!r})", fatal=True)
        config = dataclasses.replace(config, problems=(*config.problems, fault))
        _current = PandaProbe(IdlePipeline(config), config)
        return _current


def _current_counts(
    first: PandaProbe, config: Config, arguments: Mapping[str, Any], provider: TracerProvider | None
) -> bool:
    """Return whether a later call of `init` changes nothing; it warns if the call has other arguments.

    A first call without a key does not count: the cell of a notebook is run again once the key is set. A start by the
    first use does not count either if this call has other settings.
    """
    if not first.config.enabled:
        return True
    if not first.enabled:
        return config.problems == first.config.problems
    if first.is_shut_down:
        return False
    if _is_unasked:
        return provider is None and config == dataclasses.replace(
            first.config, strict=config.strict, sources=config.sources
        )
    _warn_of_ignored("init() was called before, so these arguments have no effect", arguments, first.config, config)
    return True


def _retire(handle: PandaProbe) -> None:
    """Deliver the spans of an earlier pipeline in a thread; the end of the process waits for that thread."""
    if handle.enabled and not handle.is_shut_down:
        start_thread(handle.shutdown, "pandaprobe-retire")


def _warn_of_ignored(message: str, names: Iterable[str], before: Config, config: Config) -> None:
    """Warn about settings whose values are not those in effect."""
    ignored: list[str] = []
    for name in names:
        there, now = getattr(before, name, None), getattr(config, name, None)
        # Each run of a line that creates a function creates another function.
        if name != "mask" and there != now and not (callable(there) and callable(now)):
            ignored.append(name)
    if ignored:
        mistake(f"{message}: {', '.join(sorted(ignored))}.")


def _set_up(config: Config, arguments: Mapping[str, Any], provider: TracerProvider | None) -> PandaProbe:
    processor = connections.processor_of_the_app(config, provider)
    pipeline = open_pipeline(config, counts_starts=True) if processor is None else processor.pipeline
    if processor is not None:
        message = "The provider already has a PandaProbeSpanProcessor, so these settings have no effect"
        _warn_of_ignored(message, arguments.keys() & OF_RECEIVERS, processor.pipeline.config, config)
    elif config.strict and (problems := pipeline.status().problems):  # of masks and vendors' switches
        raise ConfigError(" ".join(problems))
    if isinstance(pipeline, IdlePipeline):
        return PandaProbe(pipeline, config)
    if config.captures_content:
        _switch_content_on()
    connections.lead(pipeline, config, provider, has_processor=processor is not None)
    carry_context(threads=config.threads)
    if config.handle_sigterm:
        end_on_sigterm()
    _logger.info("pandaprobe-otel: project=%s endpoint=%s", config.project_name, config.destination)
    return PandaProbe(pipeline, config if processor is None else pipeline.config)


def _switch_content_on() -> None:
    """Make the official instrumentations write messages on spans."""
    for name, value in CONTENT_SWITCHES.items():
        os.environ.setdefault(name, value)


def current() -> PandaProbe | None:
    """Return the handle of `init`; None before the first call."""
    return _current


def forget(handle: PandaProbe) -> None:
    """Let a later `init()` take effect, if this handle is the first one's and does not send."""
    global _current
    with _lock:
        if _current is handle and not handle.enabled:
            _current = None


def flush(timeout: float = 30.0) -> bool:
    """Deliver every trace whose root span has ended; return True if all were delivered within `timeout` seconds."""
    return _current.flush(timeout) if _current is not None else True


async def aflush(timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - the bound of `flush`, not of the task
    """`flush` for event loops."""
    return await _current.aflush(timeout) if _current is not None else True


def shutdown(timeout: float | None = None) -> bool:
    """Deliver as much as possible within `timeout` seconds, then stop; return True if nothing was dropped."""
    return _current.shutdown(timeout) if _current is not None else True


def trace_url(trace_id: str | UUID | None = None) -> str | None:
    """Return the address of a trace's page; by default, of the current trace.

    None outside of a trace, before `init()`, and if no address is known. A local server is asked once, for at most a
    second. For the hosted PandaProbe, set PANDAPROBE_TRACE_URL to the address with `{trace_id}` in it, because the API
    does not return the identifiers in that address.
    """
    return None if _current is None else _current.trace_url(trace_id)


def status() -> Status:
    """Return the counts of spans and the state of delivery; all counts are zero before `init`."""
    if _current is not None:
        return _current.status()
    config = Config.resolve()
    return dataclasses.replace(IdlePipeline(config).status(), problems=("init() was not called",))


def settings_in_use() -> Config | None:
    """Return the settings of `init`; None before its call. Starts nothing."""
    return None if _current is None else _current.config
