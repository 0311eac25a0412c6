"""Restoring the OpenTelemetry context, even in cases where the API would log an error."""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry.context import Context, detach


def restore(token: Token[Context]) -> None:
    """Undo an `attach`.

    If the garbage collector or another task closes a coroutine, the coroutine ends in a context in which its token is
    invalid. There is nothing to undo there, but `detach` would log "Failed to detach context" with a traceback. So the
    context variable is reset directly.
    """
    variable: Any = getattr(token, "var", None)
    if variable is None:
        detach(token)  # the app uses another runtime context than the default one
        return
    try:
        variable.reset(token)
    except ValueError:
        return
