"""Meaning of an outcome for every kind of request, from the measured behaviour of the server (0.5.0).

A verdict has the server's message as one short, printable line, and the wait that it asks for: Retry-After (RFC 9110,
section 10.2.3), or the headers that proxies send instead of it. The wait is between one second and ten minutes, or
None. A zero or a past date also gives None, because a server that has just refused a request does not mean "now", and
our own schedule is safer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.transport.request_outcome import NoAnswer, Outcome

SHORTEST_S: Final = 1.0
LONGEST_S: Final = 600.0
"""A longer wait is usually a proxy's mistake, and a request every ten minutes does no harm."""
_EPOCH_FROM_S: Final = 1e9
_MOST_CHARACTERS: Final = 64
_READ: Final = 16 << 10
_LINE: Final = 200
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]*)", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)

_MOST_READ: Final = 1 << 20
"""Bound on the bytes of an error's body; a longer one is not from PandaProbe."""
_MOST_ERRORS: Final = 600
"""Bound on the refused fields that are read; a request has at most 500 spans."""
_LONGEST: Final = 500
"""Bound on the characters of a message."""


class VerdictKind(StrEnum):
    """Classes of outcomes that need different actions."""

    DELIVERED = "delivered"
    RATE_LIMITED = "rate limited"
    QUOTA = "quota exhausted"
    AUTH = "credentials refused"
    PROJECT = "project refused"
    NOT_FOUND = "not found"
    INVALID = "refused as invalid"
    TOO_LARGE = "too large"
    REDIRECTED = "redirected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "outcome unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Classified outcome, with the server's message and, if given, the time to wait."""

    kind: VerdictKind
    message: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    errors: tuple[FieldError, ...] = ()


_BY_STATUS = {
    401: VerdictKind.AUTH,
    402: VerdictKind.QUOTA,
    403: VerdictKind.AUTH,
    404: VerdictKind.NOT_FOUND,
    405: VerdictKind.AUTH,  # the URL is not PandaProbe's
    407: VerdictKind.UNAVAILABLE,  # a proxy in between requires credentials
    408: VerdictKind.UNAVAILABLE,
    413: VerdictKind.TOO_LARGE,
    425: VerdictKind.UNAVAILABLE,
    # A proxy that has lost its upstream cannot know whether the request was carried out.
    502: VerdictKind.UNKNOWN,
    504: VerdictKind.UNKNOWN,
}


def judge(outcome: Outcome) -> Verdict:
    """Classify an outcome."""
    if isinstance(outcome, NoAnswer):
        kind = VerdictKind.UNKNOWN if outcome.may_have_arrived else VerdictKind.UNAVAILABLE
        return Verdict(kind=kind, message=_one_line(outcome.reason, most=_LONGEST))
    if outcome.is_success:  # not parsed, because the body may be a whole trace
        return _delivered(outcome.status)
    if outcome.status < 300:
        message = f"{outcome.status} {_start_of(outcome.body)}"
        return Verdict(kind=VerdictKind.UNKNOWN, message=message, status=outcome.status)
    body = json_object(outcome.body) if len(outcome.body) <= _MOST_READ else {}
    errors = _field_errors(body)
    return Verdict(
        kind=_kind(outcome.status, body, errors),
        message=_message(outcome.status, outcome.body, body, errors),
        status=outcome.status,
        retry_after_s=_wait(outcome.status, outcome.headers),
        errors=errors,
    )


@cache  # each trace gets this verdict
def _delivered(status: int) -> Verdict:
    return Verdict(kind=VerdictKind.DELIVERED, message=str(status), status=status)


def lacks_key(verdict: Verdict) -> bool:
    """Return whether a request that named a project was refused because it had no key (measured on 0.5.0).

    A server without sign-in answers with 422 about the project: the name of a project counts only beside a key.
    """
    words = verdict.message.lower()
    return (verdict.status == 401 and "missing credentials" in words) or (
        verdict.status == 422 and "project scope required" in words
    )


def _kind(status: int, body: dict[str, Any], errors: tuple[FieldError, ...]) -> VerdictKind:
    if 300 <= status < 400:
        return VerdictKind.REDIRECTED
    if status == 429:
        # The body makes the difference: `error` means the rate limit, `detail` the plan's quota. An unknown body (a
        # proxy's) counts as a rate limit, which ends by itself.
        return VerdictKind.QUOTA if "detail" in body and "error" not in body else VerdictKind.RATE_LIMITED
    detail: object = body.get("detail")
    if status == 422 and not errors and isinstance(detail, str) and "project" in detail.lower():
        return VerdictKind.PROJECT
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return VerdictKind.INVALID if status < 500 else VerdictKind.UNAVAILABLE


def _field_errors(body: dict[str, Any]) -> tuple[FieldError, ...]:
    rows: list[Any] | None = body.get("errors")
    if not isinstance(rows, list):
        return ()
    found = (cast("dict[str, Any]", row) for row in rows[:_MOST_ERRORS] if isinstance(row, dict))
    return tuple(FieldError(field=_text(row.get("field")), message=_text(row.get("message"))) for row in found)


def _text(value: object) -> str:
    return _one_line(value, most=_LONGEST) if isinstance(value, str) else ""


def _message(status: int, raw: bytes, body: dict[str, Any], errors: tuple[FieldError, ...]) -> str:
    if errors:
        text = "; ".join(f"{error.field}: {error.message}" for error in errors[:5])
    else:
        said: object = body.get("error") or body.get("detail")
        text = said if isinstance(said, str) else _start_of(raw)
    return _one_line(f"{status} {text.removeprefix(str(status))}", most=_LONGEST)


# -- text from servers -------------------------------------------------------------------------------------------------


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one if it is anything else."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _start_of(body: bytes) -> str:
    """Return the title or the first words of a web page, or the start of any other text."""
    text = body[:_READ].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = title.group(1) if title and title.group(1).strip() else _UNSEEN.sub(" ", text)
    return _one_line(text)


def _one_line(text: str, *, most: int = _LINE) -> str:
    """Return the text as one line of at most `most` characters, with unprintable characters marked.

    They are not removed, because that might join the pieces of a secret.
    """
    line = " ".join(text[: most * 4].split())[:most]
    return "".join(character if character.isprintable() else "�" for character in line)


# -- the wait that a server asks for -----------------------------------------------------------------------------------


def _wait(status: int, headers: Mapping[str, str]) -> float | None:
    seconds = _retry_after(headers.get("retry-after"), headers.get("date"))
    return _rate_limit_reset(headers) if seconds is None and status == 429 else seconds


def _retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds to wait, between `SHORTEST_S` and `LONGEST_S`; None if absent, invalid or too short.

    An HTTP date is compared with the answer's own `Date` header, so that a wrong local clock does not matter.
    """
    seconds = _number_in(value)
    if seconds is None:
        until, now = _time_in(value), _time_in(date)
        seconds = until - now if until is not None and now is not None else 0.0
    return _bounded(seconds)


def _rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limit resets, from the headers that proxies add to a 429; None without them.

    Reads `RateLimit` with its `t` parameter, `RateLimit-Reset` (both drafts of the IETF's httpapi group), and
    `X-RateLimit-Reset` as seconds or as a time since the epoch. Header names are in lower case.
    """
    structured = re.search(r";\s*t=(\d+)", headers.get("ratelimit", ""))
    for value in (structured and structured.group(1), headers.get("ratelimit-reset"), headers.get("x-ratelimit-reset")):
        seconds = _number_in(value)
        if seconds is None:
            continue
        if seconds >= _EPOCH_FROM_S:
            now = _time_in(headers.get("date"))
            seconds = 0.0 if now is None else seconds - now
        return _bounded(seconds)
    return None


def _bounded(seconds: float) -> float | None:
    return min(seconds, LONGEST_S) if seconds >= SHORTEST_S else None


def _number_in(value: str | None) -> float | None:
    try:
        number = float((value or "")[:_MOST_CHARACTERS])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time_in(value: str | None) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None."""
    try:
        time = parsedate_to_datetime((value or "")[:_MOST_CHARACTERS])
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # a bad year or zone, or not a date at all
        return None
