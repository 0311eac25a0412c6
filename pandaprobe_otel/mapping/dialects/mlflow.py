"""MLflow (3.17): every value is JSON text, even scalars."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.dialects.otel_genai import provider
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import amounts, encoded_counts
from pandaprobe_otel.mapping.values import scalar, structure, unquoted

_TYPES: Final = {
    "LLM": "LLM", "CHAT_MODEL": "LLM", "AGENT": "AGENT", "TOOL": "TOOL", "RETRIEVER": "RETRIEVER",
    "RERANKER": "RETRIEVER", "EMBEDDING": "EMBEDDING", "CHAIN": "CHAIN", "WORKFLOW": "CHAIN", "TASK": "CHAIN",
}  # fmt: skip


def _kind(value: Any, _: SpanView) -> str | None:
    name = unquoted(value)
    return None if name is None else _TYPES.get(name.upper(), "OTHER")


def _provider(value: Any) -> str | None:
    return provider(unquoted(value))


DIALECT: Final = Dialect(
    name="mlflow",
    title="MLflow",
    namespaces=("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.", "mlflow.llm."),
    scopes=("mlflow.tracing",),
    kinds=(KindRule("mlflow.spanType", _TYPES, decide=_kind, note="others are OTHER"),),
    rows=(
        Row("metadata.span_kind", "mlflow.spanType", other_kind, "only if PandaProbe has no such kind"),
        *named(scalar, {"input": "mlflow.spanInputs", "output": "mlflow.spanOutputs"}, late=True),
        Row("cost", "mlflow.llm.cost", amounts, "the suffix `_cost` is cut"),
        Row("metadata.provider", "mlflow.llm.provider", _provider),
        Row("usage.bag", "mlflow.chat.tokenUsage", encoded_counts),
        Row("metadata.tools", "mlflow.chat.tools", structure),
        *named(
            unquoted,
            {
                "model": "mlflow.llm.model",
                "session_id": "mlflow.trace.session",
                "user_id": "mlflow.trace.user",
                "metadata.mlflow_request_id": "mlflow.traceRequestId",
            },
        ),
    ),
)
