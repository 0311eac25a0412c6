"""Registry of our own instrumentations by name, and functions that switch them on and off.

The core never imports them: it holds the path of each class as a string and imports it on demand.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final, Literal, TypeVar

from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.config.integrations import TABLE
from pandaprobe_otel.process.guard import pass_on

State = Literal["hooked", "skipped", "failed", "adopted"]
_Client = TypeVar("_Client")
_logger = logging.getLogger(__name__)


INTEGRATIONS: Final[Mapping[str, str]] = {
    name: f"pandaprobe_otel_integrations.{name}:{row.instrumentor}" for name, row in TABLE.items()
}
"""`module:Class` by name."""

LIBRARIES: Final[Mapping[str, str]] = {name: row.library for name, row in TABLE.items()}
"""Module of the instrumented library by name; `auto` selects those that are installed."""

WITH_CLIENTS: Final = tuple(name for name, row in TABLE.items() if row.has_clients)
"""Integrations that can record a single client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentResult:
    """Result of instrumenting one library.

    `hooked`: its calls are recorded. `adopted`: it creates spans itself, which are used. `skipped`: it is left alone
    on purpose. `failed`: it could not be instrumented. `reason` may be empty for `hooked` and `adopted`.
    """

    name: str
    state: State
    reason: str = ""


def instrument(name: str, **options: Any) -> InstrumentResult:
    """Record the calls of one library, which may be imported before or after this call.

    The options are those of the instrumentor (`tracer_provider`, `capture_content`, `replayable`, `beside_others`).
    Never raises: the result reports an unknown name, a missing library or a failure. Failures are also logged.
    """
    return _instrument(name, options, was_named=True)


def uninstrument(name: str) -> None:
    """Stop recording the calls of one library and undo every change to it. An unknown name is only logged."""
    _stop(name, lambda instrumentor: instrumentor.uninstrument())


def narrow(name: str) -> None:
    """Stop recording the calls of one library, except those of clients that were wrapped individually."""
    _stop(name, lambda instrumentor: instrumentor.narrow())


def instrument_all(
    selection: Literal["auto", False] | Sequence[str] = "auto", exclude: Sequence[str] = (), **options: Any
) -> tuple[InstrumentResult, ...]:
    """Record the calls of several libraries.

    "auto" selects every supported library that is installed, without importing it; False selects none; a sequence
    selects by name. Names in `exclude` are reported as skipped. The options are those of `instrument`.
    """
    if selection is False:
        return ()
    chosen = [name for name in INTEGRATIONS if _is_installed(name)] if selection == "auto" else list(selection)
    return tuple(
        InstrumentResult(name=name, state="skipped", reason="excluded")
        if name in exclude
        else _instrument(name, options, was_named=selection != "auto")
        for name in dict.fromkeys(chosen)
    )


def instrumented() -> tuple[InstrumentResult, ...]:
    """Return the current state of every instrumented library, without loading anything."""
    return tuple(_result(name, made) for name, made in _made.items() if made.is_instrumented_by_opentelemetry)


def wrap(client: _Client) -> _Client:
    """Record the calls of this client of a model's provider, and of copies and parts of it; return the client itself.

    Other clients of its library are recorded only after `instrument(name)`. Known are the clients of OpenAI, Anthropic,
    google-genai, Mistral, Cohere, Cerebras, Fireworks, Groq, Ollama and Together, `bedrock-runtime` of boto3 and
    aiobotocore, and the module `litellm`, which has no clients.
    """
    begin_first_use()
    name = _library_of(client)
    if name is None:
        _logger.warning("wrap() does not know clients of the class %s: calls are not recorded", type(client).__name__)
    elif instrument(name, only_watched_clients=True).state != "failed":
        try:
            _instrumentor(name).watch_client(client)
        except (AttributeError, TypeError) as error:
            _logger.warning("This client's calls are not recorded: %s", error)
    return client


_made: dict[str, Any] = {}


def _instrument(name: str, options: Mapping[str, Any], *, was_named: bool) -> InstrumentResult:
    try:
        instrumentor = _instrumentor(name)
        instrumentor.instrument(skip_dep_check=True, **options)
        return _result(name, instrumentor)
    except Exception as error:  # noqa: BLE001 - one library's failure must not reach the app or the other libraries
        pass_on(error)
        if not was_named and _is_the_apps_own(error):
            reason = f"the module {LIBRARIES[name]} belongs to the app: no library of this name is installed"
            return InstrumentResult(name=name, state="skipped", reason=reason)
        reason = f"{str(error) or type(error).__name__}{_remedy(name, error)}"
        result = InstrumentResult(name=name, state="failed", reason=reason)
        _logger.warning("%s is not instrumented: %s", name, result.reason)
        return result


def _stop(name: str, how: Callable[[Any], object]) -> None:
    try:
        how(_instrumentor(name))
    except Exception as error:  # noqa: BLE001 - as in instrument()
        pass_on(error)
        _logger.warning("%s cannot be uninstrumented: %s", name, error)


def _is_the_apps_own(error: Exception) -> bool:
    """Return whether the module belongs to no distribution: many apps have their own `agents` or `mcp`.

    A frozen program has no distributions at all, so the answer is always False there.
    """
    conflict = getattr(error, "conflict", None)
    is_absent = conflict is not None and not conflict.found and not conflict.found_any
    return is_absent and not getattr(sys, "frozen", False)


def _remedy(name: str, error: Exception) -> str:
    """Return the command that installs a supported version, if the library is missing or too old."""
    conflict = getattr(error, "conflict", None)
    return "" if conflict is None else f' Run: pip install "pandaprobe-otel[{name.replace("_", "-")}]"'


def _instrumentor(name: str) -> Any:
    if name not in _made:
        target = INTEGRATIONS.get(name)
        if target is None:
            raise LookupError(f"there is no integration of this name; known names: {', '.join(INTEGRATIONS)}")
        module, _, class_name = target.partition(":")
        _made[name] = getattr(import_module(module), class_name)()
    return _made[name]


def _result(name: str, instrumentor: Any) -> InstrumentResult:
    outcome = instrumentor.outcome
    return InstrumentResult(name=name, state=outcome.state, reason=outcome.reason)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(LIBRARIES[name]) is not None
    except (ImportError, ValueError):
        # The parent package is missing, or the module is in sys.modules without a spec.
        return False


def _library_of(client: Any) -> str | None:
    """Return the name of the integration that records this client."""
    homes = [client.__name__] if isinstance(client, ModuleType) else [kind.__module__ for kind in type(client).__mro__]
    found = (name for home in homes for name in WITH_CLIENTS if f"{home}.".startswith(f"{LIBRARIES[name]}."))
    return next(found, None)
