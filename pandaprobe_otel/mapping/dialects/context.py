"""User and session under names that no vendor owns."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.mapping.dialect_table import Dialect, Row
from pandaprobe_otel.mapping.values import text

DIALECT: Final = Dialect(
    name="context",
    title="Session and user",
    rows=(
        Row("user_id", ("enduser.id",), text),
        Row("session_id", ("thread_id",), text, late=True),
    ),
)
