"""Every dialect, in order of precedence. A new one is a module here and a line in this list."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.mapping.dialects import (
    context,
    events,
    google_adk,
    haystack,
    langfuse,
    langsmith,
    mlflow,
    openinference,
    otel_genai,
    pandaprobe,
    plain,
    pydantic_ai,
    semantic_kernel,
    traceloop,
    vercel_ai,
)
from pandaprobe_otel.mapping.table import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (
    pandaprobe.DIALECT,
    langfuse.DIALECT,
    context.DIALECT,
    otel_genai.DIALECT,
    openinference.DIALECT,
    langsmith.DIALECT,
    pydantic_ai.DIALECT,
    traceloop.DIALECT,
    events.DIALECT,
    vercel_ai.DIALECT,
    google_adk.DIALECT,
    mlflow.DIALECT,
    haystack.DIALECT,
    semantic_kernel.DIALECT,
    plain.DIALECT,
)
