"""Connection of the test suite to PandaProbe, by mode: send nothing, send traces, or send and judge traces."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from pandaprobe_otel.evals.judging import JudgementCache, Judging
from pandaprobe_otel.evals.recorder import instrumentation

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.evals.local_judge import LocalJudge

N = TypeVar("N", int, float)

_DELIVER_WITHIN_S: Final = 60.0
_DEFAULT_TIMEOUT_S: Final = 600.0


class Connection:
    """The connection of one test run."""

    def __init__(self, mode: str, settings: Mapping[str, str | None]) -> None:
        """Prepare for the tests. Raises UsageError (exit code 4) if the mode needs a key and there is none."""
        self.judging = Judging(
            judge=_judge_of(settings) if mode == "eval" else None,
            max_evaluations=_number(settings, "max-evals", int),
            cache=JudgementCache(settings.get("cache"), refresh=is_set(settings, "refresh")),
            timeout_s=_number(settings, "timeout", float) or _DEFAULT_TIMEOUT_S,
        )
        within_s = _number(settings, "deliver-within", float)
        self._deliver_within_s = _DELIVER_WITHIN_S if within_s is None else within_s
        self._instrumented = False
        self._undone = ExitStack()
        from pandaprobe_otel.config.resolve import Config

        config = Config.resolve()
        if self.judging.judge is not None:  # Locally judged traces need no server, and are sent only if there is a key.
            mode = "record" if config.usable else "off"
        elif mode != "off" and not config.usable:
            why = " ".join(problem.message for problem in config.problems) or "PANDAPROBE_ENABLED is false."
            raise pytest.UsageError(f"--pandaprobe={mode} cannot send: {why}")
        self._mode = mode
        if mode == "off":
            self._silence()

    def _silence(self) -> None:
        """Let no later `init()` of the app send anything."""
        from pandaprobe_otel import bootstrap

        handle = bootstrap.current()
        if handle is not None and handle.enabled:
            handle.shutdown(0.0)
        if handle is None or handle.is_shut_down:
            silent = bootstrap.init(enabled=False, instrument=False)  # an `init()` of the app has no effect then
            self._undone.callback(bootstrap.forget, silent)

    def open(self) -> None:
        """Start sending after a test's fixtures have run, unless the app has done so."""
        if self._mode == "off":
            return
        from pandaprobe_otel import bootstrap

        if bootstrap.current() is None:
            bootstrap.init()

    def instrument(self) -> None:
        """Instrument the supported libraries, unless an `init()` that sends has done so."""
        if self._mode == "off" and not self._instrumented:
            self._instrumented = True
            self._undone.enter_context(instrumentation())

    def close(self) -> None:
        """Undo the set-up of the suite. A pipeline that sends continues until the process ends."""
        self._undone.close()

    def flush(self) -> str | None:
        """Deliver all spans; return a description of the problem if some were not delivered."""
        from pandaprobe_otel import bootstrap

        handle = bootstrap.current()
        if self._mode == "off" or handle is None:
            return None
        is_delivered = handle.flush(self._deliver_within_s)
        status = handle.status()
        if not is_delivered:
            why = status.last_error or "no error is known"
            return f"some traces still wait to be sent after {self._deliver_within_s:g} s ({why})"
        lost = sum(status.spans_dropped.values()) - status.spans_dropped.get("filtered", 0)
        return f"{lost} spans were dropped: {status.last_error}" if lost > 0 else None

    def client(self) -> Client:
        """Return a client of the project that receives the traces."""
        from pandaprobe_otel import bootstrap
        from pandaprobe_otel.api.client import Client, client_of

        handle = bootstrap.current()  # The controller of xdist has no pipeline, but the same environment.
        return Client() if handle is None or not handle.enabled else client_of(handle.config)

    def trace_url(self) -> str | None:
        """Return the address of trace pages, with `{trace_id}` in it; None if nothing is sent."""
        if self._mode == "off":
            return None
        from pandaprobe_otel import bootstrap
        from pandaprobe_otel.config.resolve import Config
        from pandaprobe_otel.reporting.trace_links import trace_template

        handle = bootstrap.current()  # The controller of xdist has no pipeline.
        config = Config.resolve() if handle is None else handle.config
        return trace_template(config.endpoint, named=config.trace_url)


def is_set(settings: Mapping[str, str | None], name: str) -> bool:
    """Return whether a flag is given, under its own name or an equivalent one."""
    return (settings.get(name) or "").lower() in ("1", "true", "yes", "on")


def _judge_of(settings: Mapping[str, str | None]) -> LocalJudge | None:
    model, url = settings.get("judge"), settings.get("judge-url")
    if model is None:
        return None
    from pandaprobe_otel.evals.local_judge import LocalJudge

    try:
        return LocalJudge(model, url=url)
    except ValueError as error:
        raise pytest.UsageError(f"--pandaprobe-judge: {error}") from None


def _number(settings: Mapping[str, str | None], name: str, kind: type[N]) -> N | None:
    text = settings.get(name)
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not value >= 0:  # also true for NaN
        raise pytest.UsageError(f"--pandaprobe-{name}={text} is not a number of 0 or more")
    return value
