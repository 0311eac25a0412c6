"""Exporters of other libraries, which send traces, telemetry or errors from threads, whenever they like."""

from __future__ import annotations

from types import FrameType
from typing import Final

_MODULES: Final = (
    "agents.tracing.processors", "ddtrace.internal.writer", "langfuse._task_manager", "langfuse.request",
    "langsmith._internal._background_thread", "litellm.integrations.", "logfire._internal.exporters",
    "mlflow.tracing.export", "newrelic.core.", "opentelemetry.exporter.", "opentelemetry.sdk.trace.export",
    "opik.message_processing.", "posthog.consumer", "posthog.request", "segment.analytics.", "sentry_sdk.transport",
    "wandb.sdk.internal.", "weave.trace_server_bindings",
)  # fmt: skip
"""Beginnings of the names of modules that export. Modules whose functions wrap those of the app are absent, since they
are on the stack of the app's own requests.
"""
_FUNCTIONS: Final = {
    "braintrust.logger": ("_publisher", "_submit_logs_request"),
    "langsmith.client": (
        "info", "create_run", "update_run", "batch_ingest_runs", "multipart_ingest", "_create_run", "_update_run",
        "_post_batch_ingest_runs", "_send_multipart_req", "_send_compressed_multipart_req",
    ),
}  # fmt: skip
"""Functions that export, in modules whose other functions make requests for the app, such as for a prompt."""
_DEEPEST: Final = 200


def is_exporter(frame: FrameType | None) -> bool:
    """Return whether this code runs for another library's exporter."""
    for _ in range(_DEEPEST):
        if frame is None:
            return False
        module: str = frame.f_globals.get("__name__") or ""
        if module.startswith(_MODULES) or frame.f_code.co_name in _FUNCTIONS.get(module, ()):
            return True
        frame = frame.f_back
    return False
