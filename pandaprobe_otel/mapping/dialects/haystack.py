"""Haystack (3.4) without an instrumentor; it has content only if HAYSTACK_CONTENT_TRACING_ENABLED is set."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import provider_counts
from pandaprobe_otel.mapping.values import mapping, text, type_of

_SUFFIXES: Final = (
    ("Generator", "LLM"), ("Retriever", "RETRIEVER"), ("Ranker", "RETRIEVER"), ("Embedder", "EMBEDDING"),
    ("ToolInvoker", "TOOL"), ("Agent", "AGENT"),
)  # fmt: skip


def _kind(value: Any, _: SpanView) -> str | None:
    name = text(value)
    if name is None:
        return None
    return next((kind for suffix, kind in _SUFFIXES if name.endswith(suffix)), "CHAIN")


def _pipeline(_: Any, view: SpanView) -> str | None:
    return "CHAIN" if view.name.startswith("haystack.") and "pipeline" in view.name else None


def _reply_meta(value: Any) -> Any:
    output = mapping(value) or {}
    replies: Any = output.get("replies")
    if type_of(replies) is list and replies and type_of(replies[0]) is dict:
        meta: Any = replies[0].get("meta")
    else:
        listed: Any = output.get("meta")
        meta = listed[0] if type_of(listed) is list and listed else listed
    return meta if type_of(meta) is dict else {}


def _model(value: Any) -> str | None:
    return text(_reply_meta(value).get("model"))


def _usage(value: Any) -> dict[str, int] | None:
    return provider_counts(_reply_meta(value).get("usage"))


DIALECT: Final = Dialect(
    name="haystack",
    title="Haystack",
    namespaces=("haystack.",),
    scopes=("haystack",),
    kinds=(
        KindRule(
            "haystack.component.type",
            decide=_kind,
            note="by suffix: Generator LLM, Retriever and Ranker RETRIEVER, ...",
        ),
        KindRule(decide=_pipeline, note="names `haystack.pipeline.*`: CHAIN"),
    ),
    rows=(
        *named(
            None,
            {
                "input": ("haystack.component.input", "haystack.pipeline.input_data"),
                "output": ("haystack.component.output", "haystack.pipeline.output_data"),
            },
            late=True,
        ),
        Row("model", "haystack.component.output", _model, "of the first reply"),
        Row("usage.bag", "haystack.component.output", _usage, "of the first reply"),
        *named(
            text,
            {
                "display_name": "haystack.component.name",
                "metadata.component_type": "haystack.component.type",
            },
        ),
    ),
)
