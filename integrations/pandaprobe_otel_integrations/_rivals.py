"""Other vendors' instrumentations of the same library: while one of them records for us, ours is silent."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from opentelemetry.trace import ProxyTracer, Tracer, get_tracer_provider

from pandaprobe_otel.capture.tracers import share_contexts

_OURS: Final = frozenset({"PandaProbeSpanProcessor", "PandaProbeSpanExporter"})
_logger = logging.getLogger("pandaprobe_otel.integrations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """An instrumentor class of somebody else, by its module; it is never imported to look.

    The names of its instrumentation scopes begin with that of the module.
    """

    vendor: str
    module: str
    class_name: str

    def is_active(self) -> bool:
        """Return whether it has instrumented the library: an OpenTelemetry instrumentor is a singleton that knows."""
        return self.module in sys.modules and bool(getattr(self.instance, "_is_instrumented_by_opentelemetry", False))

    @property
    def instance(self) -> Any:
        """The singleton; None when there is none yet."""
        module = sys.modules.get(self.module)
        return getattr(getattr(module, self.class_name, None), "_instance", None)


@dataclass(slots=True, kw_only=True)
class Watch:
    """Looks out for the rivals of one integration, whose spans are made by `tracer`."""

    rivals: Iterable[Rival]
    tracer: Tracer
    _known: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    """By their modules, what the spans of active rivals are handed to."""

    def active(self) -> Rival | None:
        """Return the first rival that is active, and whose spans go where ours go, or to PandaProbe all the same."""
        for rival in self.rivals:
            # Each call asks this of rivals that mostly are not even installed.
            if rival.module not in sys.modules:
                continue
            if not rival.is_active():
                self._known.pop(rival.module, None)
            elif self._is_heard(rival):
                return rival
        return None

    def _is_heard(self, rival: Rival) -> bool:
        known = self._known.get(rival.module)
        is_new = known is None
        if known is None:
            # Found once: it asks the garbage collector for every object where a rival goes its own way.
            known = self._known[rival.module] = _receivers(rival, self.tracer)
        ours = _receiver(self.tracer)
        if ours is None or not known or any(each is ours or _is_for_us(each) for each in known):
            return True
        if is_new:
            share_contexts()
            _tell(rival, ours, known)
        return False


def _receivers(rival: Rival, tracer: Tracer) -> tuple[Any, ...]:
    """Return the processors that get a rival's spans, by its tracers; empty if it has none, which says nothing."""
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
    return lambda scope: scope == rival.module or scope.startswith(f"{rival.module}.")


def _receiver(tracer: Any) -> Any:
    """Return the span processor of all that a tracer makes; None when it makes nothing."""
    if isinstance(tracer, ProxyTracer):
        tracer = tracer._tracer  # pyright: ignore[reportPrivateUsage]
    return getattr(tracer, "span_processor", None)


def _parts(processor: Any) -> Iterator[Any]:
    """Yield a processor, those in it, and what they export by."""
    yield processor
    inside: Any = getattr(processor, "_span_processors", ())
    if type(inside) is not tuple:  # a stand-in has every attribute
        inside = ()
    for inner in cast("tuple[Any, ...]", inside):
        yield from _parts(inner)
    batch = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(batch, "_exporter", None)
    if exporter is not None:
        yield exporter


def _is_for_us(processor: Any) -> bool:
    return any(type(part).__name__ in _OURS for part in _parts(processor))


def _tell(rival: Rival, ours: Any, theirs: Iterable[Any]) -> None:
    words = (
        f"{rival.vendor} ({rival.module}) records calls for somebody else; they are recorded for PandaProbe as well."
    )
    both = _endpoints(ours) & {endpoint for each in theirs for endpoint in _endpoints(each)}
    if both:
        _logger.warning(
            "%s Both sets of spans go to %s, which gets each call twice: give its instrumentor the tracer provider of "
            "init(), or leave it out.",
            words,
            ", ".join(sorted(both)),
        )
    else:
        _logger.info("%s", words)


def _endpoints(processor: Any) -> set[str]:
    found = {getattr(part, "_endpoint", None) for part in _parts(processor)}
    return {endpoint for endpoint in found if isinstance(endpoint, str)}


@dataclass(slots=True, kw_only=True)
class LeaveTaking:
    """Around the end of a rival that came before us: ours steps aside, and back when the rival is gone.

    A rival that is taken off puts back what it had found, or takes off whatever is outermost. Both are ours.
    """

    instance: Any
    step_aside: Callable[[], None]
    step_back: Callable[[], None]
    _way: Any = None

    def begin(self) -> LeaveTaking:
        """Wait for its end."""
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
        """Wait no longer."""
        own = cast("dict[str, Any]", self.instance.__dict__)
        if own.get("uninstrument") is self._way:
            del self.instance.uninstrument
