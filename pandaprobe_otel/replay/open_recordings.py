"""The recording that a request belongs to: that of its OpenTelemetry context, or the only open one of the process."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Final

from opentelemetry.context import create_key, get_current, get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from pandaprobe_otel.errors import RecordingError

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording

KEY: Final = create_key("pandaprobe-recording")

_EXPORTING_MODULES: Final = (
    "agents.tracing.processors", "ddtrace.internal.writer", "langfuse._task_manager", "langfuse.request",
    "langsmith._internal._background_thread", "litellm.integrations.", "logfire._internal.exporters",
    "mlflow.tracing.export", "newrelic.core.", "opentelemetry.exporter.", "opentelemetry.sdk.trace.export",
    "opik.message_processing.", "posthog.consumer", "posthog.request", "segment.analytics.", "sentry_sdk.transport",
    "wandb.sdk.internal.", "weave.trace_server_bindings",
)  # fmt: skip
"""Beginnings of the names of modules that export. Modules whose functions wrap those of the app are absent, since they
are on the stack of the app's own requests.
"""
_EXPORTING_FUNCTIONS: Final = {
    "braintrust.logger": ("_publisher", "_submit_logs_request"),
    "langsmith.client": (
        "info", "create_run", "update_run", "batch_ingest_runs", "multipart_ingest", "_create_run", "_update_run",
        "_post_batch_ingest_runs", "_send_multipart_req", "_send_compressed_multipart_req",
    ),
}  # fmt: skip
"""Functions that export, in modules whose other functions make requests for the app, such as for a prompt."""
_DEEPEST_FRAME: Final = 200

_lock = threading.RLock()
_open: list[Recording] = []
_is_inside: ContextVar[bool] = ContextVar("pandaprobe_inside_a_recorded_request", default=False)


def add(run: Recording) -> None:
    """Register a recording. The first one of the process hooks the libraries."""
    from pandaprobe_otel.replay import hooks, tools

    with _lock:
        _open.append(run)
        if len(_open) == 1:
            hooks.install()
            tools.install()


def take_away(run: Recording) -> None:
    """Remove a recording. The last one of the process removes the hooks."""
    from pandaprobe_otel.replay import hooks, tools

    with _lock:
        if run in _open:
            _open.remove(run)
            if not _open:
                hooks.remove()
                tools.remove()


def current(uri: str = "") -> Recording | None:
    """Return the recording of a request that is made here; None if it is not a request of the app, or if the recording
    ignores its URL.

    Three kinds do not belong to the app: requests inside a recorded request, as when a client sends through two
    libraries; those that OpenTelemetry must ignore, such as its exporters, our own API client, and judges; and those
    with which other libraries export their own traces. Raises RecordingError if several recordings are open and the
    context names none of them.
    """
    if not _open or _is_inside.get() or not is_instrumentation_enabled() or _is_exporter(inspect.currentframe()):
        return None
    run = owner()
    return None if run is None or run.leaves_alone(uri) else run


def owner() -> Recording | None:
    """Return the recording of the code that runs here. Raises RecordingError as `current` does."""
    found = get_value(KEY, get_current())
    with _lock:
        for run in _open:
            if run is found:
                return run
        if len(_open) > 1:
            names = ", ".join(sorted(str(run.path) for run in _open))
            raise RecordingError(
                f"{len(_open)} recordings are open ({names}), but this code runs in the context of none of them: start "
                "its thread with `pandaprobe_otel.context_executor()` or `contextvars.copy_context().run`."
            )
        return _open[0] if _open else None


@contextmanager
def inside() -> Generator[None]:
    """Ignore requests that a recorded request makes itself."""
    token = _is_inside.set(True)
    try:
        yield
    finally:
        _is_inside.reset(token)


def _is_exporter(frame: FrameType | None) -> bool:
    """Return whether this code runs for another library's exporter, which sends from threads whenever it likes."""
    for _ in range(_DEEPEST_FRAME):
        if frame is None:
            return False
        module: str = frame.f_globals.get("__name__") or ""
        if module.startswith(_EXPORTING_MODULES) or frame.f_code.co_name in _EXPORTING_FUNCTIONS.get(module, ()):
            return True
        frame = frame.f_back
    return False
