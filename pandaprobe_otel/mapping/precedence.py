"""All dialects, in order of precedence. A new dialect needs a module in `dialects` and a line in this list."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from pandaprobe_otel.mapping.dialect_table import Dialect

ORDER: Final = (
    "pandaprobe",
    "langfuse",
    "context",
    "otel_genai",
    "openinference",
    "langsmith",
    "pydantic_ai",
    "traceloop",
    "events",
    "vercel_ai",
    "google_adk",
    "mlflow",
    "haystack",
    "semantic_kernel",
    "plain",
)
"""Module names in `dialects`. If two dialects can fill a field, the earlier one wins."""

DIALECTS: Final[tuple[Dialect, ...]] = tuple(
    import_module(f"pandaprobe_otel.mapping.dialects.{name}").DIALECT for name in ORDER
)
