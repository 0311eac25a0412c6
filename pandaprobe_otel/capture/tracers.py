"""The tracer of the decorators: from the global provider, or from one chosen for this library.

If the app has not called `init()`, the first use of a decorator, block or wrapper starts everything that `init()`
starts, provided that the environment has a key. Without a key, nothing is recorded, and one log line reports this.
Libraries ship decorators, so decorating costs nothing. Each call after the first costs one check.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from importlib import import_module
from typing import Any, Final

from opentelemetry.trace import ProxyTracerProvider, Tracer, TracerProvider, get_tracer_provider

from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.process.guard import failed, pass_on

_logger = logging.getLogger("pandaprobe_otel")

SCOPE_NAME: Final = "pandaprobe_otel"
"""Instrumentation scope of every span that the decorators and blocks make."""


LONGEST_WAIT_S: Final = 5.0
"""Seconds to wait for the starting thread; it may itself wait for a module that this thread is importing."""
NOTHING_IS_RECORDED: Final = (
    "nothing is recorded: init() was not called and no PANDAPROBE_API_KEY is set. Do one of the two, or set "
    "PANDAPROBE_ENABLED=false to turn this line off."
)

_lock = threading.RLock()
_is_over = False
_is_beginning = False
_was_broken_off = False
"""True after an interrupt of the start, which may have left an open pipeline that nothing leads to."""


class _State:
    __slots__ = ("are_contexts_shared", "cached", "chosen")

    def __init__(self) -> None:
        self.are_contexts_shared = False
        """True if spans of another provider are among ours, so some parents never reach us."""
        self.chosen: TracerProvider | None = None
        """The provider chosen for this library; None for the global one."""
        self.cached: tuple[TracerProvider, Tracer] | None = None


state: Final = _State()


def use_tracer_provider(provider: TracerProvider | None) -> None:
    """Use this provider instead of the global one; with None, use the global one again."""
    state.chosen = provider


def current_tracer() -> Tracer | None:
    """Return the tracer to make spans with; None until a tracer provider is set up."""
    provider = state.chosen
    if provider is None:
        try:
            provider = get_tracer_provider()
        except Exception as error:  # noqa: BLE001 - protects the app: OTEL_PYTHON_TRACER_PROVIDER may name anything
            failed("the search for OpenTelemetry's tracer provider", error)
            return None
    cached = state.cached
    if cached is not None and cached[0] is provider:
        return cached[1]
    if not _is_over:
        begin_first_use()
        provider = state.chosen or get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider):
        return None
    tracer = provider.get_tracer(SCOPE_NAME)
    state.cached = (provider, tracer)
    return tracer


def forestall_first_use() -> None:
    """Mark the first use as over, because the app calls `init()`, which may use decorators itself."""
    global _is_over
    _is_over = True


def begin_first_use(*, quietly: bool = False) -> None:
    """Start if the environment asks for it, else log that nothing is recorded. Runs once and never raises.

    Other threads wait for the thread that starts. With `quietly`, nothing is logged: the caller sees the outcome, and
    the next use logs the line.
    """
    global _is_over, _is_beginning
    if _is_over:
        return
    try:
        # Inside of `try`, because an interrupt may strike as soon as the lock is held.
        if not _lock.acquire(timeout=LONGEST_WAIT_S):
            return
        if not _is_over and not _is_beginning:  # else this thread itself is starting, and reached a decorator
            try:
                _is_beginning = True
                _is_over = _begin(quietly)
            finally:  # after an interrupt, the next use starts
                _is_beginning = False
    except Exception as error:  # noqa: BLE001 - the user's call goes on in any case; counted and logged
        failed("the start from the environment", error)
        _is_over = True
    finally:
        try:
            _lock.release()
        except RuntimeError as error:  # this thread does not hold it
            pass_on(error)


def _after_fork() -> None:
    global _lock, _is_beginning
    _lock, _is_beginning = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _begin(quietly: bool) -> bool:
    global _was_broken_off
    with loading():
        # Unless these are loaded, nobody has called init() or opened a pipeline. Another thread may be loading them.
        bootstrap: Any = _loaded("pandaprobe_otel.bootstrap")
        pipeline: Any = _loaded("pandaprobe_otel.pipeline.opening")
        was_opened = pipeline and pipeline.was_opened() and not _was_broken_off
        if (bootstrap and bootstrap.current() is not None) or was_opened or _is_test_run():
            return True
        if _is_off():
            return True
        if _asks():
            with loading("pandaprobe_otel.bootstrap"):
                from pandaprobe_otel.bootstrap import begin_from_environment

            _was_broken_off = True
            begin_from_environment()
            _was_broken_off = False
            return True
    if quietly:
        return False
    if _nobody_traces():
        _logger.warning("pandaprobe-otel: %s", NOTHING_IS_RECORDED)
    return True


def _loaded(module: str) -> Any:
    return import_module(module) if module in sys.modules else None


def _is_off() -> bool:
    from pandaprobe_otel.config.parsers import BadValueError, otel_disabled, read_bool

    given = os.environ.get("PANDAPROBE_ENABLED", "").strip()
    try:
        return not read_bool(given) if given else otel_disabled(os.environ) is not None
    except BadValueError:  # treated as unset; the other settings report it
        return False


def _asks() -> bool:
    """Return whether the environment names a destination. A key in the command line's file is not meant for apps."""
    if any(os.environ.get(name, "").strip() for name in ("PANDAPROBE_API_KEY", "PANDAPROBE_LOCAL")):
        return True
    if not os.environ.get("PANDAPROBE_ENDPOINT", "").strip():
        return False
    from pandaprobe_otel.config.resolve import Config

    return Config.resolve().is_local


def _nobody_traces() -> bool:
    """Return whether spans go nowhere: neither to PandaProbe nor to a provider of the app."""
    return state.chosen is None and isinstance(get_tracer_provider(), ProxyTracerProvider)


def _is_test_run() -> bool:
    """Return whether pytest runs in the mode that sends nothing."""
    plugin: Any = sys.modules.get("pandaprobe_otel.pytest_plugin")
    return plugin is not None and plugin.is_off()
