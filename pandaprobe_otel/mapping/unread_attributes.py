"""Attributes that no row of a dialect reads, kept in `metadata.attributes` under the emitter's name.

No data of a span is dropped silently. Deliberate omissions are listed here with their reasons, and on the page
`docs/recorded.md`.
"""

from __future__ import annotations

import re
from typing import Any, Final

MACHINES: Final = "names machines and connections"
REPEATED: Final = "repeats what other fields of the span say"
SETTINGS: Final = "copies settings of the process"
SECRET: Final = "[left out: by its name it is a secret]"
"""Replacement of a text whose attribute name marks it as a secret."""

MACHINE_NAMES: Final = (
    "asgi.", "aws.ecs.", "aws.eks.", "aws.lambda.", "aws.log.", "az.", "azure.", "client.", "cloud.", "code.",
    "container.", "cpu.", "db.", "deployment.", "destination.", "dns.", "elasticsearch.", "faas.", "graphql.", "host.",
    "http.", "k8s.", "log.", "messaging.", "net.", "network.", "os.", "otel.", "peer.", "process.", "resource.",
    "rpc.", "server.", "service.", "source.", "system.", "telemetry.", "thread.", "tls.", "url.", "user_agent.",
    "vcs.", "webengine.",
    "ai.request.headers.", "gen_ai.headers", "llm.headers", "gen_ai.openai.api_base", "gen_ai.openai.api_version",
    "openai.api_base", "openai.api_version", "jsonrpc.",
)  # fmt: skip
_REPEATED: Final = (
    "gen_ai.operation.name", "input.mime_type", "output.mime_type", "openinference.span.kind", "langsmith.span.kind",
    "langfuse.observation.type", "traceloop.span.kind", "mlflow.spanType", "mlflow.message.format",
    "pandaprobe.span.kind", "pandaprobe.outcome",
    "pandaprobe.completion_start_time_unix_nano", "llm.request.type", "ai.operationId", "operation.name",
    "logfire.json_schema",
    "logfire.msg_template", "logfire.span_type", "logfire.pending_parent_id", "logfire.level_num",
    "logfire.null_args", "gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token",
    "gen_ai.client.operation.", "gen_ai.execute_tool.duration", "gen_ai.event.start_time", "gen_ai.event.end_time",
    "agent_framework.function.invocation.duration", "ai.response.msToFirstChunk", "ai.response.msToFinish",
    "ai.response.avgOutputTokensPerSecond", "ai.stream.msToFirstChunk", "haystack.component.input_types",
    "haystack.component.input_spec", "haystack.component.output_spec", "exception.escaped", "event.name",
)  # fmt: skip
SETTING_NAMES: Final = (
    "langsmith.metadata.LANGSMITH_",
    "langsmith.metadata.LANGCHAIN_",
    "langsmith.metadata.revision_id",
)
CONNECTION_KEYS: Final = frozenset(
    {
        "base_url", "api_base", "api_version", "azure_endpoint", "headers", "extra_headers", "default_headers",
        "default_query", "http_client", "http_options", "proxies", "proxy",
    }
)  # fmt: skip
_SECRET_KEY: Final = re.compile(
    r"passw|secret|api.?key|authori[sz]ation|cookie|credential|private.?key|(access|auth|refresh|bearer|id).?token",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(
    r"passw|secret|token|api.?key|authori[sz]ation|cookie|credential|private.?key", re.IGNORECASE
)
_VOCABULARIES: Final = (
    "gen_ai.", "llm.", "ai.", "openai.", "langfuse.", "pydantic_ai.", "mlflow.", "traceloop.", "pandaprobe.",
)  # fmt: skip


def left_out(name: str) -> str | None:
    """Return the reason for leaving out an attribute that no row reads, or None if it is kept."""
    if name.startswith(MACHINE_NAMES):
        return MACHINES
    if name.startswith(_REPEATED):
        return REPEATED
    return SETTINGS if name.startswith(SETTING_NAMES) else None


def hides(key: str, value: Any) -> bool:
    """Return whether the key of a text within a value marks it as a secret."""
    return type(value) is str and _SECRET_KEY.search(key) is not None


def shown(name: str, value: Any) -> Any:
    """Return the value, or the mark that replaces it if its name marks it as a secret."""
    secret = type(value) is str and not name.startswith(_VOCABULARIES) and _SECRET.search(name) is not None
    return SECRET if secret else value
