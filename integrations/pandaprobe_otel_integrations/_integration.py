"""The base of every instrumentor in this package."""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar, Literal

from opentelemetry.instrumentation.dependencies import DependencyConflictError, get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import get_tracer

from pandaprobe_otel.capture.trace_context import TraceValues
from pandaprobe_otel.capture.wrapping import Scope, wrap
from pandaprobe_otel.config.integrations import TABLE
from pandaprobe_otel.mapping.kinds import REPEATED_SCOPES
from pandaprobe_otel.process.guard import pass_on
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import captures_content
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, Undoable, patch, when_imported
from pandaprobe_otel_integrations._patching import replace as patched
from pandaprobe_otel_integrations._rivals import LeaveTaking, Rival, Watch, known_rivals

# -- detection of installed libraries that are older than the tested versions ------------------------------------------


def names_of(requirements: Collection[str]) -> list[str]:
    """Return the names of the distributions: `openai` for `openai >= 1.6`."""
    return [each.partition(">=")[0].strip() for each in requirements]


def older_than_tested(requirements: Collection[str]) -> str | None:
    """Return a clause about the first distribution that is installed and older than its floor, with both versions."""
    for requirement in requirements:
        # This suffix makes pre-releases compare like every other version, instead of being excluded.
        conflict = get_dependency_conflicts([f"{requirement}.dev0"])
        if conflict is not None and conflict.found is not None:
            oldest = requirement.partition(">=")[2].strip()
            return f"{conflict.found} is older than the oldest version tested ({oldest})"
    return None


def is_there(module: str) -> bool:
    """Return whether the module could be imported, without importing it or its parents."""
    if module in sys.modules:
        return True
    name, *below = module.split(".")
    with suppress(ValueError):  # it is in sys.modules without a spec
        spec = find_spec(name)
        for part in below:
            name = f"{name}.{part}"
            places = spec.submodule_search_locations if spec is not None else None
            spec = PathFinder.find_spec(name, places) if places else None
        return spec is not None
    return False


SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
"""The semantic conventions of the attributes; this version has the last changes to the GenAI part."""

State = Literal["hooked", "skipped", "failed", "adopted"]
_logger = logging.getLogger("pandaprobe_otel.integrations")
_awaited: set[tuple[str, str]] = set()
Begin = Callable[[Recorder, tuple[Any, ...], dict[str, Any]], Scope | None]
"""Starts the scope of a call from its arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of instrumenting a library. `reason` is empty if there is none."""

    state: State
    reason: str = ""


class Integration(BaseInstrumentor):
    """Base of the instrumentors. A library is hooked at once if it is loaded, otherwise when it is loaded.

    Options of `instrument()`:

    - `tracer_provider`: target of the spans; default: the global provider.
    - `capture_content`: True or False for messages in the spans; default: the value of
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT when `instrument()` is called, or True.
    - `replayable`: True to keep on each span of a model call the data from which the call can be rebuilt.
    - `beside_others`: True to record calls even while another vendor's instrumentation of this library is active.

    An instrumentor never imports the library. If the library has an unexpected structure, it is left alone, and
    `outcome` and one log line say so.
    """

    library: ClassVar[str]
    """Name in the registry, and last part of the instrumentation scope's name."""
    requirements: ClassVar[tuple[str, ...]]
    """The distribution with its oldest tested version, from the registry. An older version is instrumented too."""
    hooked_modules: ClassVar[tuple[str, ...]]
    """Modules of the library for which `_hook` is called when they are loaded."""
    rivals: ClassVar[tuple[Rival, ...]]
    """Instrumentors of other vendors, by default those that have the library's name."""
    repeated_by: ClassVar[tuple[str, ...]] = ()
    """Scopes of another vendor's spans of the same calls, which are poorer: PandaProbe leaves them out."""
    makes_own_spans: ClassVar[bool] = False
    """True if the library makes the spans itself; they are then `adopted` and not `hooked`."""

    values: TraceValues | None = None
    """Session, user, tags and metadata of the traces that a framework starts; an adapter sets them."""

    _lock = threading.RLock()
    _patches: list[Undoable]
    _problems: dict[str, str]
    _older: str | None = None
    _is_age_told = False
    _recorder: Recorder
    _watch: Watch
    _tracer_provider: Any = None
    _beside_others = False
    _open = False
    _every_client = False
    _clients: weakref.WeakValueDictionary[int, Any]
    """The watched clients by their identity, because some are not hashable."""

    def __init_subclass__(cls) -> None:
        own = vars(cls)
        if (library := own.get("library")) is not None:
            cls.requirements = (TABLE[library].requirement,)
            cls.rivals = own.get("rivals") or known_rivals(library)

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the library in any version: one older than `requirements` is instrumented as far as possible."""
        return names_of(self.requirements)

    @property
    def outcome(self) -> Outcome:
        """The current state of the instrumentation."""
        if not self._open:
            return Outcome(state="skipped", reason="not instrumented")
        rival = self._active_rival()
        if rival is not None:
            return Outcome(state="skipped", reason=f"{rival.vendor} records these calls ({rival.module})")
        if self._problems:
            return Outcome(state="failed", reason=self._why_not("; ".join(self._problems.values())))
        reasons = [self._older] if self._older is not None else []
        if not any(name in sys.modules for name in self.hooked_modules):
            reasons.append(f"waits for the import of {self.hooked_modules[0]}")
        return Outcome(state="adopted" if self.makes_own_spans else "hooked", reason="; ".join(reasons))

    def instrument(self, **kwargs: Any) -> Any:
        """Turn the integration on. Calling it again is not an error, and can only widen the recording."""
        if self._is_instrumented_by_opentelemetry:
            self._every_client = self._every_client or not kwargs.get("only_watched_clients", False)
            self._leave_out_repeats()
            return None
        return super().instrument(**kwargs)

    def uninstrument(self, **kwargs: Any) -> Any:
        """Turn the integration off and restore the library. Does nothing if it is off."""
        return super().uninstrument(**kwargs) if self._is_instrumented_by_opentelemetry else None

    def narrow(self) -> None:
        """Record only the calls of the watched clients. If no client is watched, turn the integration off."""
        if self._is_instrumented_by_opentelemetry and self._clients:
            self._every_client = False
            self._leave_out_repeats()
        else:
            self.uninstrument()

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client even if the library as a whole is not instrumented."""
        self._clients[id(client)] = client

    @abstractmethod
    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch one loaded module. An exception is reported, and patches made before it stay."""

    def _instrument(self, **kwargs: Any) -> None:
        # `opentelemetry-instrument` skips this check of the base class, so it is made here.
        conflict = get_dependency_conflicts(self.instrumentation_dependencies())
        if conflict is not None:
            raise DependencyConflictError(conflict)
        with self._lock:
            self._tracer_provider = kwargs.get("tracer_provider")
            recorder = self._make_recorder(self._tracer_provider, kwargs.get("capture_content"))
            self._recorder = replace(recorder, replayable=bool(kwargs.get("replayable", False)))
            self._watch = Watch(rivals=self.rivals, tracer=self._recorder.tracer)
            self._beside_others = bool(kwargs.get("beside_others", False))
            self._every_client = not kwargs.get("only_watched_clients", False)
            self._patches, self._problems, self._open = [], {}, True
            self._clients = (
                vars(self).get("_clients") or weakref.WeakValueDictionary()
            )  # clients that were wrapped once stay wrapped
            self._look_at_age()
            for name in self.hooked_modules:
                self._hook_when_loaded(name)
            self._leave_out_repeats()

    def _uninstrument(self, **kwargs: Any) -> None:
        with self._lock:
            self._open, self.values = False, None
            self._leave_out_repeats()
            for each in reversed(self._patches):
                each.undo()
            self._patches = []

    def _leave_out_repeats(self) -> None:
        """Leave another vendor's repetitions out while every call is recorded here."""
        is_whole = self._open and self._every_client and not self._problems
        (REPEATED_SCOPES.update if is_whole else REPEATED_SCOPES.difference_update)(self.repeated_by)

    def _surround(self, owner: Any, name: str, begin: Begin) -> Undoable:
        """Put a scope, usually a span, around each call of a function or method, of every kind."""

        def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin, self._recorder, args, kwargs) if self._lets_through(args[0]) else None

        return patched(owner, name, wrap(owner.__dict__[name], opened))

    def _is_on(self) -> bool:
        """Return whether to add to the library's own spans."""
        return self._open

    def _after(self, owner: Any, name: str, read: Callable[[Any, OriginalCall], Any]) -> Undoable:
        """While on, give each result of a function to `read`, with the call; what that returns replaces the result."""

        def around(original: OriginalCall) -> Any:
            result = original()
            found = guarded(read, result, original) if self._is_on() else None
            return result if found is None else found

        return patch(owner, name, around)

    def _before(self, owner: Any, name: str, tell: Callable[..., object]) -> Undoable:
        """While on, call `tell` with the arguments of each call of a function, before the call."""

        def around(original: OriginalCall) -> Any:
            if self._is_on():
                guarded(tell, *original.args, **original.kwargs)
            return original()

        return patch(owner, name, around)

    def _lets_through(self, client: Any) -> bool:
        """Return whether to record a call. Wrappers that outlive `uninstrument` ask this too."""
        if not self._open:
            return False
        if not self._every_client and self._clients.get(id(watched := self._watched(client))) is not watched:
            return False
        return self._active_rival() is None

    def _active_rival(self) -> Rival | None:
        """Return the vendor that records the calls in our place.

        None if no vendor does, or if our integration records anyway.
        """
        return None if self._beside_others else self._watch.active()

    def _leaves_it_to_others(self) -> bool:
        """Return whether the integration is on, but another vendor records the calls."""
        return self._open and self._active_rival() is not None

    def _recorder_if_on(self) -> Recorder | None:
        return self._recorder if self._open else None

    def _recorder_if_alone(self) -> Recorder | None:
        """Return the recorder while the integration is on and no other vendor records the calls."""
        return self._recorder if self._open and self._active_rival() is None else None

    def _watched(self, client: Any) -> Any:
        """Return the part of a client by which `watch_client` recognises it."""
        return client

    def _make_recorder(self, tracer_provider: Any, capture_content: bool | None) -> Recorder:
        from pandaprobe_otel import __version__

        tracer = get_tracer(f"pandaprobe_otel.{self.library}", __version__, tracer_provider, SCHEMA_URL)
        with_content = captures_content() if capture_content is None else capture_content
        return Recorder(tracer=tracer, with_content=with_content, gate=self._lets_through)

    def _hook_when_loaded(self, name: str) -> None:
        # An import hook cannot be removed, so each module gets only one, however often the integration is turned on.
        key = (type(self).__name__, name)
        if name in sys.modules:
            self._hook_loaded(sys.modules[name])
        elif key not in _awaited:
            _awaited.add(key)
            when_imported(name, self._hook_loaded)

    def _hook_loaded(self, module: ModuleType) -> None:
        with self._lock:
            if not self._open:
                return
            try:
                self._wait_for_their_end()
                self._patches.extend(self._hook(module))
            except Exception as error:  # noqa: BLE001 - a library built differently must not fail the app's import
                pass_on(error)
                self._report(module.__name__, f"{module.__name__}: {error}")
            else:
                self._warn_of_age()

    def _wait_for_their_end(self) -> None:
        known = [each.instance for each in self._patches if isinstance(each, LeaveTaking)]
        for rival in self.rivals:
            if isinstance(rival.instance, BaseInstrumentor) and rival.is_active() and rival.instance not in known:
                leave = LeaveTaking(instance=rival.instance, step_aside=self._step_aside, step_back=self._step_back)
                self._patches.append(leave.begin())

    def _step_aside(self) -> None:
        with self._lock:
            for each in reversed(self._patches):
                if isinstance(each, Patch):
                    each.undo()

    def _step_back(self) -> None:
        with self._lock:
            for each in self._patches:
                if isinstance(each, Patch):
                    each.renew()

    def _look_at_age(self) -> None:
        """Find out whether the library is older than tested, and has none of the modules.

        Missing modules are never imported, so no hook would report them.
        """
        self._older, self._is_age_told = older_than_tested(self.requirements), False
        if self._older is not None and not any(map(is_there, self.hooked_modules)):
            self._report(self.library, f"there is no {', '.join(self.hooked_modules)}")

    def _warn_of_age(self) -> None:
        if self._older is not None and not self._problems and not self._is_age_told:
            self._is_age_told = True
            _logger.info("%s; %s is instrumented anyway", self._older, self.library)

    def _report(self, where: str, problem: str) -> None:
        """Keep a problem and log it.

        For an older version, only the first problem is logged, since the remedy is the same.
        """
        is_first = not self._problems
        self._problems[where] = problem
        self._leave_out_repeats()
        if is_first or self._older is None:
            _logger.warning("%s is not instrumented: %s", self.library, self._why_not(problem))

    def _why_not(self, problem: str) -> str:
        if self._older is None:
            return problem
        return f"{self._older} and has another structure ({problem}): upgrade to {self.requirements[0]}"
