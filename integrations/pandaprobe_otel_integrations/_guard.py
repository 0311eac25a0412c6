"""The guard for an integration's own errors: it logs them, and the app goes on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pandaprobe_otel.process.guard import pass_on

_P = ParamSpec("_P")
_R = TypeVar("_R")
_logger = logging.getLogger("pandaprobe_otel.integrations")


def guarded(function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R | None:
    """Return the function's result. If it raises, return None and log the traceback at DEBUG.

    An exception of the app that strikes here, such as a time limit, passes (see `pass_on`).
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:
        pass_on(error)
        _logger.debug("An observation failed; the observed call is not affected.", exc_info=True)
        return None


def observing(method: Callable[_P, object]) -> Callable[_P, None]:
    """Return the method for calls by a framework: what goes wrong in it is logged, as by `guarded`."""

    @functools.wraps(method)
    def observed(*args: _P.args, **kwargs: _P.kwargs) -> None:
        guarded(method, *args, **kwargs)

    return observed
