"""Connections of a pipeline with the app's span and log providers, and with the instrumented libraries.

A processor cannot be removed from a provider. So if `init()` runs again, the existing processor is pointed at the new
pipeline, and the libraries stay instrumented.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.pipeline.opening import Pipeline
    from pandaprobe_otel.sdk.log_processor import PandaProbeLogProcessor
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

_logger = logging.getLogger("pandaprobe_otel")

_ATTRIBUTE_LIMITS: Final = frozenset({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"})
"""Bounds that the user may set. With the SDK's 128, dialects with one attribute per message lose parts of chats."""


@dataclass(slots=True)
class _Joined:
    """Connections of the last `init()`, with their providers: the app may have another provider by the next call."""

    spans: tuple[Any, PandaProbeSpanProcessor] | None = None
    late: list[tuple[Any, PandaProbeSpanProcessor]] = field(default_factory=list[tuple[Any, "PandaProbeSpanProcessor"]])
    """Providers that the app set when there was a global one already, with our processors in them."""
    pipeline_for_late: Pipeline | None = None
    """Target of such providers; None if `init()` was to join one provider of the app's choice."""
    logs: tuple[Any, PandaProbeLogProcessor] | None = None
    libraries: tuple[str, ...] = ()
    added: set[Any] = field(default_factory=set[Any])
    """Processors that their providers have. After an interrupt, the provider itself must be looked at."""


_last: Final = _Joined()


def processor_of_the_app(config: Config, provider: TracerProvider | None) -> PandaProbeSpanProcessor | None:
    """Return the processor that the app has added itself, if it has the same destination as these settings.

    A second processor would send everything twice.
    """
    from opentelemetry import trace

    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor, receivers_in

    target: Any = provider or trace.get_tracer_provider()
    own = _last.spans[1] if _last.spans is not None else None
    for receiver in receivers_in(getattr(target, "_active_span_processor", None)) if config.usable else ():
        if not isinstance(receiver, PandaProbeSpanProcessor) or receiver is own:
            continue
        if receiver.pipeline.destination == config.destination and not receiver.pipeline.is_closed:
            return receiver
    return None


def lead(
    pipeline: Pipeline,
    config: Config,
    provider: TracerProvider | None,
    *,
    has_processor: bool,
) -> None:
    """Connect spans, log records and library calls to this pipeline, and disconnect the earlier one.

    `has_processor`: the provider already sends its spans to this pipeline.
    """
    before = _last.spans[0] if _last.spans is not None else None
    target = _lead_spans(pipeline, config, provider, has_processor=has_processor)
    _lead_late_providers(None if provider is not None or target is None else pipeline)
    _lead_logs(pipeline)
    _instrument(config, target, is_other=before is not None and target is not before)


def _lead_spans(
    pipeline: Pipeline, config: Config, provider: TracerProvider | None, *, has_processor: bool
) -> TracerProvider | None:
    from opentelemetry import trace

    from pandaprobe_otel.capture.tracers import state, use_tracer_provider
    from pandaprobe_otel.id_generator import draw_from_system

    chosen = None if has_processor else state.chosen
    target: Any = provider or chosen or trace.get_tracer_provider()
    if not hasattr(target, "add_span_processor"):
        if not isinstance(target, trace.ProxyTracerProvider):
            _logger.warning(
                "pandaprobe-otel: the app's tracer provider (%s) accepts no span processors; no traces are sent. "
                "Pass tracer_provider=... with a provider of the OpenTelemetry SDK.",
                type(target).__name__,
            )
            return None
        target = _new_provider(config)
        trace.set_tracer_provider(target)
    elif provider is not None:
        use_tracer_provider(provider)  # the decorators use it too, although it is not the global one
    draw_from_system(target)
    if not has_processor:
        _lead_processor(target, pipeline)
    return target  # type: ignore[no-any-return]


def _lead_processor(target: Any, pipeline: Pipeline) -> None:
    """Point our processor of this provider at the pipeline; if there is none, add one, and keep the other processors.

    Phoenix's provider (arize-phoenix-otel 0.17) shuts its own exporter down when an app adds its first processor,
    unless `replace_default_processor` is False.
    """
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

    if _last.spans is None or _last.spans[0] is not target:
        _last.spans = (target, PandaProbeSpanProcessor(pipeline=pipeline))
    _last.spans[1].lead_to(pipeline)
    if _is_added(_last.spans[1], target):
        return
    _add(_last.spans[1], target)
    _last.added.add(_last.spans[1])


def _is_added(processor: Any, provider: Any) -> bool:
    """Return whether the provider has the processor; an earlier call may have been interrupted before it was added."""
    for joined, name in (
        ("_active_span_processor", "_span_processors"),
        ("_multi_log_record_processor", "_log_record_processors"),
    ):
        inside: Any = getattr(getattr(provider, joined, None), name, ())
        if type(inside) is tuple and processor in inside:  # a mock has every attribute
            return True
    return processor in _last.added


def _lead_late_providers(pipeline: Pipeline | None) -> None:
    """Point our processors of providers that came too late to be the global one at the pipeline, also in the future.

    A tool such as Logfire that is set up after `init()` makes its spans with its own provider, which OpenTelemetry
    refuses as the global one. In the other order, `init()` joins it.
    """
    from opentelemetry import trace

    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor, receivers_in

    _last.pipeline_for_late = pipeline
    if pipeline is not None:
        for _, processor in _last.late:
            processor.lead_to(pipeline)
    set_provider: Callable[..., None] = trace._set_tracer_provider  # pyright: ignore[reportPrivateUsage]
    if getattr(set_provider, "joins_late", False):
        return

    def setting(tracer_provider: Any, log: bool) -> None:
        set_provider(tracer_provider, log)
        target = _last.pipeline_for_late
        if target is None or tracer_provider is trace.get_tracer_provider() or target.is_closed:
            return
        is_known = any(known is tracer_provider for known, _ in _last.late) or any(
            receivers_in(getattr(tracer_provider, "_active_span_processor", None))
        )
        if not is_known and hasattr(tracer_provider, "add_span_processor"):
            processor = PandaProbeSpanProcessor(pipeline=target)
            processor.outlives_provider = True
            _last.late.append((tracer_provider, processor))
            _add(processor, tracer_provider)

    setting.joins_late = True  # type: ignore[attr-defined]
    trace._set_tracer_provider = setting  # pyright: ignore[reportPrivateUsage]


def _add(processor: PandaProbeSpanProcessor, provider: Any) -> None:
    """Add our processor to a provider.

    Logfire's provider passes everything to an inner one, which `logfire.configure()` shuts down and replaces.
    """
    options = {}
    if "replace_default_processor" in signature(provider.add_span_processor).parameters:
        options["replace_default_processor"] = False
    provider.add_span_processor(processor, **options)
    if (replace := getattr(provider, "set_provider", None)) is None:
        return

    def replacing(*args: Any, **kwargs: Any) -> None:
        replace(*args, **kwargs)
        provider.add_span_processor(processor)

    processor.outlives_provider = True
    provider.set_provider = replacing


def _lead_logs(pipeline: Pipeline) -> None:
    """Receive the messages that some instrumentations write as log records; create a log provider if there is none."""
    from opentelemetry import _logs

    from pandaprobe_otel.sdk.log_processor import PandaProbeLogProcessor

    target: Any = _logs.get_logger_provider()
    if not hasattr(target, "add_log_record_processor"):
        if type(target).__name__ != "ProxyLoggerProvider":  # the API does not export this class
            return
        from opentelemetry.sdk._logs import LoggerProvider

        target = LoggerProvider()
        _logs.set_logger_provider(target)
    if _last.logs is None or _last.logs[0] is not target:
        _last.logs = (target, PandaProbeLogProcessor(pipeline))
    _last.logs[1].lead_to(pipeline)
    if _is_added(_last.logs[1], target):
        return
    target.add_log_record_processor(_last.logs[1])
    _last.added.add(_last.logs[1])
    _forward_events(target)


def _forward_events(logger_provider: Any) -> None:
    """Connect events to the log provider: until OpenTelemetry 1.38, they had a provider of their own."""
    # From 1.39 until their removal, importing these modules gives a deprecation warning, which the app cannot act on.
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

    from pandaprobe_otel.sdk.processor import counting_sampler

    described = {
        "service.name": config.service_name,
        "deployment.environment.name": config.environment,
        "service.version": config.release,
    }
    is_limited = not _ATTRIBUTE_LIMITS.isdisjoint(os.environ)
    return TracerProvider(
        resource=Resource.create({name: value for name, value in described.items() if value}),
        sampler=None if "OTEL_TRACES_SAMPLER" in os.environ else counting_sampler(_count_unsampled),
        span_limits=SpanLimits(max_span_attributes=None if is_limited else SpanLimits.UNSET),
    )


def _count_unsampled() -> None:
    if _last.spans is not None:
        _last.spans[1].pipeline.unsampled()


def _instrument(config: Config, provider: TracerProvider | None, *, is_other: bool) -> None:
    """Instrument the libraries that the settings name, and stop those that only an earlier `init()` named.

    `is_other`: the libraries instrumented so far use another provider.
    """
    if config.instrument is False and not _last.libraries:
        return
    from pandaprobe_otel.registry import instrument_all, instrumented, narrow, uninstrument

    if is_other:
        for name in _last.libraries:
            uninstrument(name)
    others = {result.name for result in instrumented()}.difference(_last.libraries)
    options = {"replayable": True} if config.replayable else {}
    results = instrument_all(config.instrument, config.exclude, tracer_provider=provider, **options)
    chosen = {result.name for result in results}.difference(config.exclude)
    for name in _last.libraries:
        if name not in chosen:
            narrow(name)
    _last.libraries = tuple(sorted(chosen - others))
