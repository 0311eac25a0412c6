"""Hint for the shell after a lost answer: the command that shows whether the request was carried out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pandaprobe_otel.errors import OutcomeUnknown, SentRequest

Arguments: TypeAlias = tuple[str, ...]

_COMMANDS: Final[tuple[tuple[str, Callable[[re.Match[str], Any], Arguments]], ...]] = (
    (r"/evaluations/trace-runs(/.*)?", lambda _path, _body: ("evals", "runs", "list")),
    (r"/evaluations/session-runs(/.*)?", lambda _path, _body: ("evals", "runs", "list", "--sessions")),
    (r"/evaluations/monitors/(?P<id>[^/]+)/trigger", lambda path, _body: ("monitors", "runs", path["id"])),
    (r"/evaluations/monitors", lambda _path, _body: ("monitors", "list")),
    (
        r"/evaluations/trace-scores",
        lambda _path, body: ("scores", "list", "--trace-id", body["trace_id"], "--name", body["name"]),
    ),
)
"""Routes whose requests are never repeated, with the command that lists the objects they create."""


def with_look_up_hint(error: OutcomeUnknown) -> str:
    """Return an error message with a look-up command in place of the Python client's method."""
    said = str(error).removesuffix(error.advice).rstrip()
    command = None if error.request is None else _command(error.request)
    if error.request is None or command is None:
        return f"{said} Check whether it was carried out before you repeat it."
    since = f"{error.request.sent_at:%Y-%m-%dT%H:%M:%SZ}"
    return f"{said} Before you repeat it, look for objects created since {since}: {command}"


def _command(request: SentRequest) -> str | None:
    for pattern, arguments in _COMMANDS:
        if match := re.fullmatch(pattern, request.path):
            return shlex.join(("pandaprobe-otel", *map(str, arguments(match, request.body))))
    return None
