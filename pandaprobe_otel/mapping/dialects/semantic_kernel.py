"""Semantic Kernel (1.45), where it deviates from the GenAI conventions; its content comes in log records."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.mapping.dialect_table import Dialect, Row
from pandaprobe_otel.mapping.dialects.otel_genai import finish_reasons

DIALECT: Final = Dialect(
    name="semantic_kernel",
    title="Semantic Kernel",
    scopes=("semantic_kernel",),
    rows=(
        Row(
            "metadata.finish_reasons", ("gen_ai.response.finish_reason",), finish_reasons, "`FinishReason.STOP` is stop"
        ),
    ),
)
