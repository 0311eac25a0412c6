"""What an outcome means, whatever the request was. One table, by the measured behaviour of the server (0.5.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.transport.messages import Answer, NoAnswer, Outcome
from pandaprobe_otel.transport.retry_after import parse_rate_limit_reset, parse_retry_after


class VerdictKind(StrEnum):
    """The classes of outcomes that call for different actions."""

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
    """A classified outcome, with the server's own words and, when it said so, how long to wait."""

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
    407: VerdictKind.UNAVAILABLE,  # a proxy on the way wants to know who we are
    408: VerdictKind.UNAVAILABLE,
    413: VerdictKind.TOO_LARGE,
    425: VerdictKind.UNAVAILABLE,
    # A proxy that lost its upstream cannot know whether the request was carried out.
    502: VerdictKind.UNKNOWN,
    504: VerdictKind.UNKNOWN,
}


def judge(outcome: Outcome) -> Verdict:
    """Classify an outcome."""
    if isinstance(outcome, NoAnswer):
        kind = VerdictKind.UNKNOWN if outcome.may_have_arrived else VerdictKind.UNAVAILABLE
        return Verdict(kind=kind, message=outcome.reason)
    if 200 <= outcome.status < 300:  # not read: the answer to a look may hold a whole trace
        kind = VerdictKind.UNKNOWN if _is_page(outcome) else VerdictKind.DELIVERED
        return Verdict(kind=kind, message=f"{outcome.status} {_start_of(outcome.body)}", status=outcome.status)
    body = _object(outcome.body)
    errors = _field_errors(body)
    return Verdict(
        kind=_kind(outcome.status, body, errors),
        message=_words(outcome.status, outcome.body, body, errors),
        status=outcome.status,
        retry_after_s=_wait(outcome.status, outcome.headers),
        errors=errors,
    )


def _wait(status: int, headers: Mapping[str, str]) -> float | None:
    seconds = parse_retry_after(headers.get("retry-after"), headers.get("date"))
    return parse_rate_limit_reset(headers) if seconds is None and status == 429 else seconds


def _is_page(answer: Answer) -> bool:
    """A success that is a web page: something on the way (the page of a hotel's network, say) answers for it."""
    return answer.body[:200].lstrip().startswith(b"<")


def _kind(status: int, body: dict[str, Any], errors: tuple[FieldError, ...]) -> VerdictKind:
    if 300 <= status < 400:
        return VerdictKind.REDIRECTED
    if status == 429:
        # The body tells them apart: `error` is the rate limit, `detail` the plan's quota. Unknown bodies (a
        # proxy's) are taken for a rate limit, which is waited out.
        return VerdictKind.QUOTA if "detail" in body and "error" not in body else VerdictKind.RATE_LIMITED
    if status == 422 and not errors and "project" in str(body.get("detail", "")).lower():
        return VerdictKind.PROJECT
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return VerdictKind.INVALID if status < 500 else VerdictKind.UNAVAILABLE


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _field_errors(body: dict[str, Any]) -> tuple[FieldError, ...]:
    rows: Any = body.get("errors")
    if not isinstance(rows, list):
        return ()
    return tuple(
        _field_error(cast("dict[str, Any]", row)) for row in cast("list[object]", rows) if isinstance(row, dict)
    )


def _field_error(row: dict[str, Any]) -> FieldError:
    return FieldError(field=str(row.get("field", "")), message=str(row.get("message", "")))


def _words(status: int, raw: bytes, body: dict[str, Any], errors: tuple[FieldError, ...]) -> str:
    if errors:
        text = "; ".join(f"{error.field}: {error.message}" for error in errors[:5])
    else:
        text = str(body.get("error") or body.get("detail") or _start_of(raw))
    return f"{status} {text}".strip()[:500]


def _start_of(raw: bytes) -> str:
    return raw[:200].decode("utf-8", "replace")
