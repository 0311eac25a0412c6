"""Every dialect, in order of precedence. A new one is a module here and a line in this list."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.mapping.dialects import otel_genai, pandaprobe, plain
from pandaprobe_otel.mapping.table import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (
    pandaprobe.DIALECT,
    otel_genai.DIALECT,
    plain.DIALECT,
)
