"""Error answers in the server's own words and formats (measured on server 0.5.0).

A validation error has `detail` and a list `errors`. A refusal by the application has only `detail`, and a rate limit
has only `error`. A failure of the server is plain text, after which the connection is closed.
"""

from __future__ import annotations

import re
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


class EmptyNameError(InvalidFieldError):
    """A trace or span would get an empty name. The real server always answers 500."""

    def __init__(self) -> None:
        super().__init__("name", "String should have at least 1 character")


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


def install_error_handlers(app: FastAPI, *, retry_after: bool) -> None:
    """Register the answers to all exceptions.

    With `retry_after`, a rate limit has that header, as documented, and a request that makes the real server fail gets
    a 422 with the reason. Without `retry_after`, both answers are as measured.
    """

    async def on_rate_limit(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RateLimitedError)
        response = JSONResponse({"error": str(error)}, status_code=429)
        if retry_after:
            response.headers["retry-after"] = str(max(1, -int(-error.retry_after_s // 1)))
        return response

    async def on_invalid(request: Request, error: Exception) -> Response:
        if isinstance(error, EmptyNameError | TooDeepError) and not retry_after:
            request.state.no_request_id = True
            return plain_500()
        listed = [{"field": field, "message": message} for field, message in _invalid(request, error)]
        return JSONResponse({"detail": "Validation error", "errors": listed}, status_code=422)

    app.add_exception_handler(RateLimitedError, on_rate_limit)
    for kind in (RequestValidationError, InvalidFieldError, ForeignTraceError, ForeignSpanError, TooDeepError):
        app.add_exception_handler(kind, on_invalid)


def _invalid(request: Request, error: Exception) -> list[tuple[str, str]]:
    """Return the path and the message of each invalid field."""
    match error:
        case RequestValidationError():
            return [(_field(item["loc"]), _message(item)) for item in error.errors()]
        case InvalidFieldError():
            return [(error.field, str(error))]
        case ForeignTraceError():
            return [("trace_id", "This trace id belongs to another project; trace ids are global")]
        case ForeignSpanError():
            prefix = "" if request.url.path.endswith("/spans") else "spans -> "
            message = "This span id belongs to another trace; span ids are global"
            return [(f"{prefix}{error.index} -> span_id", message)]
        case _:
            return [("", str(error))]


def _field(location: Sequence[Any]) -> str:
    parts = location[1:] if location and location[0] == "body" else location
    return " -> ".join(str(part) for part in parts)


def _message(error: Mapping[str, Any]) -> str:
    """Return a message in the words of server 0.5.0. They differ between versions of the framework."""
    if tuple(error["loc"]) == ("body",) and error.get("input") is None:
        return "Field required"
    text = str(error["msg"])
    if error["type"] == "uuid_parsing":
        text = text.replace("length: found", "length: expected length 32 for simple format, found")
        text = _CHARACTER.sub(lambda found: f"{_EXPECTED}, found {found[1]} at {int(found[2]) + 1}", text)
    return text


_CHARACTER: Final = re.compile(r"(?<=character: )found (.*) at (\d+)", re.DOTALL)
_EXPECTED: Final = "expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-]"
