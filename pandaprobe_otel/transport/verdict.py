"""Meaning of an outcome for every kind of request, in one table from the measured behaviour of the server (0.5.0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final, cast

from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.transport.request_outcome import NoAnswer, Outcome
from pandaprobe_otel.transport.retry_after import parse_rate_limit_reset, parse_retry_after
from pandaprobe_otel.transport.server_text import is_page, json_object, one_line, start_of

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
        return Verdict(kind=kind, message=one_line(outcome.reason, most=_LONGEST))
    if 200 <= outcome.status < 300:  # not parsed, because the body may be a whole trace
        if not is_page(outcome.body):  # a page comes from something in between, such as a hotel's network
            return _delivered(outcome.status)
        message = f"{outcome.status} {start_of(outcome.body)}"
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


def _wait(status: int, headers: Mapping[str, str]) -> float | None:
    seconds = parse_retry_after(headers.get("retry-after"), headers.get("date"))
    return parse_rate_limit_reset(headers) if seconds is None and status == 429 else seconds


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
    return one_line(value, most=_LONGEST) if isinstance(value, str) else ""


def _message(status: int, raw: bytes, body: dict[str, Any], errors: tuple[FieldError, ...]) -> str:
    if errors:
        text = "; ".join(f"{error.field}: {error.message}" for error in errors[:5])
    else:
        said: object = body.get("error") or body.get("detail")
        text = said if isinstance(said, str) else start_of(raw)
    return one_line(f"{status} {text.removeprefix(str(status))}", most=_LONGEST)
