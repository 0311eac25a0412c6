"""Giving the OpenTelemetry context back, also where the API would log an error for it."""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry.context import Context, detach


def restore(token: Token[Context]) -> None:
    """Undo an `attach`.

    A coroutine that is closed by the garbage collector or by another task ends in a context where its token is
    not valid. There is nothing to undo there, but `detach` would log "Failed to detach context" with a traceback,
    so the context variable is reset directly.
    """
    variable: Any = getattr(token, "var", None)
    if variable is None:
        detach(token)  # another runtime context than the default one
        return
    try:
        variable.reset(token)
    except ValueError:
        return
