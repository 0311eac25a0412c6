"""Error answers in the server's own words and formats (measured on server 0.5.0).

A validation error has `detail` and a list `errors`. A refusal by the application has only `detail`, and a rate limit
has only `error`. A failure of the server is plain text, after which the connection is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.limits import RateLimitedError
from pandaprobe_otel.local.payloads import TooDeepError
from pandaprobe_otel.local.store.spans import ForeignSpanError
from pandaprobe_otel.local.store.traces import ForeignTraceError


class InvalidFieldError(Exception):
    """A field was refused although the body was valid by its schema."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class EmptyNameError(Exception):
    """A trace or span would get an empty name. The real server always answers 500."""

    def __init__(self) -> None:
        super().__init__("String should have at least 1 character")


def not_found(what: str) -> HTTPException:
    """Return the 404 `<what> not found.`"""
    return HTTPException(404, f"{what} not found.")


def refused(detail: str) -> HTTPException:
    """Return a 422 of the application."""
    return HTTPException(422, detail)


def plain_500() -> Response:
    """Return the server's answer to its own failures."""
    response = PlainTextResponse("Internal Server Error", status_code=500)
    response.headers["connection"] = "close"
    return response


def validation_body(errors: Sequence[tuple[str, str]]) -> JSONResponse:
    """Return the 422 of an invalid body, path or query; each error is a field path and a message."""
    listed = [{"field": field, "message": message} for field, message in errors]
    return JSONResponse({"detail": "Validation error", "errors": listed}, status_code=422)


def install_error_handlers(app: FastAPI, *, retry_after: bool) -> None:
    """Register the answers to all exceptions.

    With `retry_after`, a rate limit has that header, as documented, and a request that makes the real server fail gets
    a 422 with the reason. Without `retry_after`, both answers are as measured.
    """

    async def on_validation_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return validation_body([(_field(item["loc"]), _message(item)) for item in error.errors()])

    async def on_rate_limit(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RateLimitedError)
        response = JSONResponse({"error": str(error)}, status_code=429)
        if retry_after:
            response.headers["retry-after"] = str(max(1, -int(-error.retry_after_s // 1)))
        return response

    async def on_what_fails_there(request: Request, error: Exception) -> Response:
        if retry_after:
            return validation_body([("name" if isinstance(error, EmptyNameError) else "", str(error))])
        request.state.no_request_id = True
        return plain_500()

    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(RateLimitedError, on_rate_limit)
    app.add_exception_handler(InvalidFieldError, _on_invalid_field)
    app.add_exception_handler(ForeignTraceError, _on_foreign_trace)
    app.add_exception_handler(ForeignSpanError, _on_foreign_span)
    app.add_exception_handler(TooDeepError, on_what_fails_there)
    app.add_exception_handler(EmptyNameError, on_what_fails_there)


def _field(location: Sequence[Any]) -> str:
    parts = location[1:] if location and location[0] == "body" else location
    return " -> ".join(str(part) for part in parts)


def _message(error: Mapping[str, Any]) -> str:
    """Return a message in the words of server 0.5.0. They differ between versions of the framework."""
    if error["type"] == "uuid_parsing" and isinstance(error.get("input"), str):
        return uuid_message(error["input"])
    if tuple(error["loc"]) == ("body",) and error.get("input") is None:
        return "Field required"
    message: str = error["msg"]
    return message


async def _on_invalid_field(_request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidFieldError)
    return validation_body([(error.field, str(error))])


async def _on_foreign_trace(_request: Request, _error: Exception) -> Response:
    return validation_body([("trace_id", "This trace id belongs to another project; trace ids are global")])


async def _on_foreign_span(request: Request, error: Exception) -> Response:
    assert isinstance(error, ForeignSpanError)
    prefix = "" if request.url.path.endswith("/spans") else "spans -> "
    return validation_body(
        [(f"{prefix}{error.index} -> span_id", "This span id belongs to another trace; span ids are global")]
    )


_PREFIX: Final = "Input should be a valid UUID, "
_URN: Final = "urn:uuid:"
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_GROUPS: Final = (8, 4, 4, 4, 12)


def uuid_message(text: str) -> str:
    """Return the server's error message for a text that is not a UUID."""
    body, skipped = _unwrapped(text)
    for position, character in enumerate(body):
        if character != "-" and character not in _HEX:
            # The position counts bytes, from 1, in the whole text.
            at = len(body[:position].encode("utf-8", "surrogatepass")) + skipped + 1
            return (
                f"{_PREFIX}invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-], "
                f"found `{character}` at {at}"
            )
    groups = body.split("-")
    if len(groups) == 1 and not skipped:
        return f"{_PREFIX}invalid length: expected length 32 for simple format, found {len(text)}"
    if len(groups) != len(_GROUPS):
        return f"{_PREFIX}invalid group count: expected {len(_GROUPS)}, found {len(groups)}"
    for number, (group, length) in enumerate(zip(groups, _GROUPS, strict=True)):
        if len(group) != length:
            return f"{_PREFIX}invalid group length in group {number}: expected {length}, found {len(group)}"
    return f"{_PREFIX}invalid length: expected length 32 for simple format, found {len(text)}"


def _unwrapped(text: str) -> tuple[str, int]:
    if text.startswith("{") and text.endswith("}") and len(text) > 1:
        return text[1:-1], 1
    if text.startswith(_URN):
        return text[len(_URN) :], len(_URN)
    return text, 0
