"""Other vendors' instrumentations of the same library: while PandaProbe gets the spans of one, ours is disabled."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, cast

from opentelemetry.trace import ProxyTracer, Tracer, get_tracer_provider

from pandaprobe_otel.capture.tracers import state

from ._guard import guarded

_OURS: Final = frozenset({"PandaProbeSpanProcessor", "PandaProbeSpanExporter"})
_logger = logging.getLogger("pandaprobe_otel.integrations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another vendor's instrumentor, by its module, which is never imported for this check."""

    vendor: str
    module: str
    scope: str = ""
    """Start of the names of its instrumentation scopes; empty if they start with the name of the module."""

    def is_active(self) -> bool:
        """Return whether the rival has instrumented the library.

        An OpenTelemetry instrumentor is a singleton that holds this state.
        """
        return bool(getattr(self.instance, "_is_instrumented_by_opentelemetry", False))

    def records_this_call(self) -> bool:
        """Return whether the active rival records the call that begins now."""
        return True

    @property
    def instance(self) -> Any:
        """The singleton of the instrumentor in the module, whatever its class is named; None if there is none yet."""
        members: dict[str, Any] = getattr(sys.modules.get(self.module), "__dict__", {})
        kinds = (each for each in tuple(members.values()) if isinstance(each, type))
        found = (vars(each).get("_instance") for each in kinds)
        return next((each for each in found if hasattr(each, "_is_instrumented_by_opentelemetry")), None)


OPENLLMETRY: Final = "OpenLLMetry"
_PACKAGES: Final = {
    "OpenInference": "openinference.instrumentation",
    OPENLLMETRY: "opentelemetry.instrumentation",
    "OpenTelemetry GenAI": "opentelemetry.instrumentation.genai",
}
"""The packages in which vendors have an instrumentor for each library, by the library's name."""


def known_rivals(library: str, *others: Rival) -> tuple[Rival, ...]:
    """Return the instrumentors of a library by every vendor, and others."""
    known = (Rival(vendor=vendor, module=f"{package}.{library}") for vendor, package in _PACKAGES.items())
    return (*known, *others)


@dataclass(frozen=True, slots=True, kw_only=True)
class LangfuseModule(Rival):
    """A module of Langfuse's SDK that records calls as soon as it is imported, if a client of Langfuse is enabled."""

    vendor: str = "Langfuse"
    scope: str = "langfuse-sdk"

    def is_active(self) -> bool:
        """Return whether the module is imported and a client makes spans."""
        kept: Any = sys.modules.get("langfuse._client.resource_manager")
        clients: dict[str, Any] = getattr(getattr(kept, "LangfuseResourceManager", None), "_instances", {})
        return self.module in sys.modules and any(
            getattr(each, "tracing_enabled", False) for each in tuple(clients.values())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LangSmithTracing(Rival):
    """LangSmith's tracing, active while it sends runs through OpenTelemetry, in the whole app or a part of it.

    Its spans go to the global tracer provider.
    """

    vendor: str = "LangSmith"
    module: str = "langsmith"
    scope: str = "langsmith"

    def is_active(self) -> bool:
        """Return whether LangSmith makes spans, by its own reading of its (cached) variables and of its context."""
        utils = sys.modules.get("langsmith.utils")
        return utils is not None and bool(guarded(_emits_spans, utils))


@dataclass(frozen=True, slots=True, kw_only=True)
class LangSmithWrapper(LangSmithTracing):
    """LangSmith's wrapper of a client. It makes its spans later, in a thread, so no span is current in the call."""

    module: str = "langsmith.wrappers"

    def records_this_call(self) -> bool:
        """Return whether the call is made inside a wrapped client's."""
        return bool(guarded(_is_wrapped_call))


def _is_wrapped_call() -> bool:
    run: Any = sys.modules["langsmith.run_helpers"].get_current_run_tree()
    return run is not None and run.run_type == "llm" and "ls_invocation_params" in run.metadata


def _emits_spans(utils: Any) -> bool:
    mode = utils.get_env_var("TRACING_MODE")
    if mode and _has_modes():
        emits = mode.lower() in ("otel", "hybrid")
    else:
        switches = ("OTEL_ONLY", "OTEL_ENABLED") if _has_modes() else ("OTEL_ENABLED",)
        emits = any(utils.is_truish(utils.get_env_var(name)) for name in switches)
    return emits and bool(utils.tracing_is_enabled())


@cache
def _has_modes() -> bool:
    """Return whether the version is 0.8 or newer.

    Older versions read no mode, and ignore OTEL_ONLY without OTEL_ENABLED.
    """
    try:
        major, minor = version("langsmith").split(".")[:2]
        return (int(major), int(minor)) >= (0, 8)
    except (PackageNotFoundError, ValueError):
        return True


@dataclass(slots=True, kw_only=True)
class Watch:
    """Finds the active rivals of an integration whose spans `tracer` makes."""

    rivals: Iterable[Rival]
    tracer: Tracer
    _known: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    """The processors that get the spans of active rivals, by the rivals' modules."""

    def active(self) -> Rival | None:
        """Return the first active rival whose spans reach PandaProbe."""
        for rival in self.rivals:
            # This runs in each call, for rivals that are usually not installed.
            if rival.module not in sys.modules:
                continue
            if not rival.is_active():
                self._known.pop(rival.module, None)
            elif rival.records_this_call() and self._is_active_rival(rival):
                return rival
        return None

    def _is_active_rival(self, rival: Rival) -> bool:
        known = self._known.get(rival.module)
        is_new = known is None
        if known is None:
            # The result is kept, because the search may visit every object in the process.
            known = self._known[rival.module] = _receivers(rival, self.tracer)
        ours = _receiver(self.tracer)
        if ours is None or not known or any(each is ours or _is_for_us(each) for each in known):
            return True
        if is_new:
            state.are_contexts_shared = True
            _log(rival, ours, known)
        return False


def _receivers(rival: Rival, tracer: Tracer) -> tuple[Any, ...]:
    """Return the processors that get a rival's spans, found through its tracers; empty if it has no tracer yet."""
    provider: Any = get_tracer_provider()
    default = getattr(provider, "_active_span_processor", None)
    scopes = [getattr(scope, "name", "") for scope in (*getattr(provider, "_tracers", ()),)]
    if default is not None and default is _receiver(tracer) and any(map(_names(rival), scopes)):
        return (default,)
    is_its_own = _names(rival)
    found: dict[int, Any] = {}
    kind = getattr(sys.modules.get("opentelemetry.sdk.trace"), "Tracer", None)
    for each in gc.get_objects():
        if type(each) is kind and is_its_own(getattr(each._instrumentation_scope, "name", "")):
            found[id(each.span_processor)] = each.span_processor
    return tuple(found.values())


def _names(rival: Rival) -> Callable[[str], bool]:
    own = rival.scope or rival.module
    return lambda scope: scope == own or scope.startswith(f"{own}.")


def _receiver(tracer: Any) -> Any:
    """Return the span processor of a tracer; None if the tracer makes no spans."""
    if isinstance(tracer, ProxyTracer):
        tracer = tracer._tracer  # pyright: ignore[reportPrivateUsage]
    return getattr(tracer, "span_processor", None)


def _parts(processor: Any) -> Iterator[Any]:
    """Yield a processor, the processors inside it, and their exporters."""
    yield processor
    inside: Any = getattr(processor, "_span_processors", ())
    if type(inside) is not tuple:  # a mock has every attribute
        inside = ()
    for inner in cast("tuple[Any, ...]", inside):
        yield from _parts(inner)
    batch = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(batch, "_exporter", None)
    if exporter is not None:
        yield exporter


def _is_for_us(processor: Any) -> bool:
    return any(type(part).__name__ in _OURS for part in _parts(processor))


def _log(rival: Rival, ours: Any, theirs: Iterable[Any]) -> None:
    words = (
        f"{rival.vendor} ({rival.module}) sends its spans elsewhere; the same calls are also recorded for PandaProbe."
    )
    both = _endpoints(ours) & {endpoint for each in theirs for endpoint in _endpoints(each)}
    if both:
        _logger.warning(
            "%s Both sets of spans go to %s, which gets each call twice: give the instrumentor of %s the tracer "
            "provider of init(), or remove it.",
            words,
            ", ".join(sorted(both)),
            rival.vendor,
        )
    else:
        _logger.info("%s", words)


def _endpoints(processor: Any) -> set[str]:
    found = {getattr(part, "_endpoint", None) for part in _parts(processor)}
    return {endpoint for endpoint in found if isinstance(endpoint, str)}


@dataclass(slots=True, kw_only=True)
class LeaveTaking:
    """Coordinates the removal of a rival that wrapped the library before us.

    When a rival is removed, it restores the object that it found, or removes the outermost wrapper. Both may be ours.
    So ours is removed first, and put back afterwards.
    """

    instance: Any
    step_aside: Callable[[], None]
    step_back: Callable[[], None]
    _way: Any = None

    def begin(self) -> LeaveTaking:
        """Intercept the rival's removal."""
        leaves = self.instance.uninstrument

        def uninstrument(**kwargs: Any) -> Any:
            self.undo()
            self.step_aside()
            try:
                return leaves(**kwargs)
            finally:
                self.step_back()

        self.instance.uninstrument = self._way = uninstrument
        return self

    def undo(self) -> None:
        """Stop intercepting the rival's removal."""
        own = cast("dict[str, Any]", self.instance.__dict__)
        if own.get("uninstrument") is self._way:
            del self.instance.uninstrument
