"""Attributes that the app itself sets on spans (`order.id`): kept, small ones only, under `metadata.attributes`.

Everything that belongs to a known vocabulary is left out: what of it matters has a row in some dialect, and the
rest are contents, headers and machine names that nobody meant to send.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.exact import type_of

MAX_TEXT: Final = 256
MAX_ATTRIBUTES: Final = 64

_VOCABULARIES: Final = tuple(
    f"{name}."
    for name in (
        "agent_framework", "ai", "anthropic", "artifact", "asgi", "aws", "az", "azure", "client", "cloud", "code",
        "container", "cpu", "crewai", "db", "deployment", "destination", "dns", "elasticsearch", "embedding",
        "enduser", "error", "event", "event_loop", "exception", "faas", "feature_flag", "file", "gcp", "gen_ai",
        "graphql", "haystack", "host", "http", "input", "jsonrpc", "k8s", "langfuse", "langsmith", "llm",
        "log", "logfire", "mcp", "messaging", "metadata", "mlflow", "net", "network", "openai", "openinference",
        "operation", "os", "otel", "output", "pandaprobe", "peer", "process", "pydantic_ai", "reranker", "resource",
        "retrieval", "rpc",
        "server", "service", "sk", "smolagents", "source", "system", "tag", "telemetry", "thread", "tls", "tool",
        "traceloop", "url", "user", "user_agent", "vcs", "webengine",
    )
)  # fmt: skip
_BARE: Final = frozenset(
    {
        "agent_name", "all_messages_events", "async", "events", "final_result", "messages", "metadata", "model_name",
        "model_request_parameters", "prompt", "request_data", "response_data", "tool_arguments", "tool_response",
        "tools",
    }
)  # fmt: skip
_SECRET: Final = re.compile(
    r"passw|secret|token|api.?key|authori[sz]ation|cookie|credential|private.?key", re.IGNORECASE
)
_SCALARS: Final = frozenset({int, float, bool})


def is_custom(key: str) -> bool:
    """Whether an attribute of this name can only come from the app."""
    return not key.startswith(_VOCABULARIES) and key not in _BARE and _SECRET.search(key) is None


def custom_attributes(keys: Iterable[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the app's own attributes that are numbers, short texts or short lists of these."""
    kept: dict[str, Any] = {}
    for key in keys:
        value = attributes[key]
        if len(kept) < MAX_ATTRIBUTES and len(key) <= MAX_TEXT and _is_small(value):
            kept[key] = value
    return kept


def _is_small(value: Any) -> bool:
    kind = type_of(value)
    if kind is str:
        return 0 < len(value) <= MAX_TEXT
    if kind is list:
        return 0 < len(value) <= 16 and all(type_of(item) is not list and _is_small(item) for item in value)
    return kind in _SCALARS
