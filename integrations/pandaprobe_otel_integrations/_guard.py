"""The guard for an integration's own errors: it logs them, and the app goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_logger = logging.getLogger("pandaprobe_otel.integrations")


def guarded(function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R | None:
    """Return the function's result. If it raises, return None and log the traceback at DEBUG."""
    try:
        return function(*args, **kwargs)
    except Exception:
        _logger.debug("An observation failed; the observed call is not affected.", exc_info=True)
        return None
