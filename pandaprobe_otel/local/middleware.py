"""The outermost layer, written as plain ASGI because every request passes through it.

It blocks web pages of other sites, injects faults, and adds `x-request-id` to the same answers as the real server. In
answers below `/ui`, it forbids inline scripts and content from other origins.

A page in a browser may send requests to a server on loopback. The layer therefore checks three things. First, the Host
must be one of ours, not the page's own. Second, requests that change something must come from our own pages or from a
program (Origin, Sec-Fetch-Site). Third, a body without a content type is not read as JSON, because any page may send
one. Old versions of FastAPI read it as JSON.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandaprobe_otel.local.errors import plain_500
from pandaprobe_otel.local.injected_faults import Faults

PAGES: Final = "/ui"
_FAULTLESS: Final = (PAGES, "/local/", "/health")
"""Paths without injected faults: pages, and routes that only a local server has. Faults are meant for the API."""
_LOOKED_AT: Final = (PAGES, "/favicon.ico")
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send Origin "null" for our own forms
    "cache-control": "no-store",
}
"""Headers of every answer to a browser that looks at pages, including errors and files."""
_SCHEMES: Final = ("http", "https")
"""Schemes of our own pages: a proxy in front of the server may use TLS."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for requests of our own pages and of the user."""
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/]+))(?::\d{1,5})?", re.ASCII)
_BAD_ORIGIN = "A web page of another site may not change anything here."
_BAD_HOST = "This Host is not served here: use the address that the server printed, or start it with --host."


TRANSPORT: Final = "transport"
"""Key in the request's state under which the HTTP protocol stores its connection."""


class OuterLayer:
    """Host check, faults and request ids around the application."""

    def __init__(self, app: ASGIApp, *, faults: Faults, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._faults = faults
        self._allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(_LOOKED_AT):
            send = _secured(send)
        headers = Headers(scope=scope)
        if not self._host_allowed(headers.get("host", "")):
            await JSONResponse({"detail": _BAD_HOST}, status_code=400)(scope, receive, send)
            return
        if scope["method"] not in _SAFE:
            if not _is_of_this_site(headers):
                await JSONResponse({"detail": _BAD_ORIGIN}, status_code=403)(scope, receive, send)
                return
            if "content-type" not in headers:
                scope["headers"] = [*scope["headers"], (b"content-type", b"application/octet-stream")]
        if not scope["path"].startswith(_FAULTLESS) and await self._fault(scope, receive, send):
            return
        await self._app(scope, receive, _with_request_id(scope, headers.get("x-request-id"), send))

    def _host_allowed(self, host: str) -> bool:
        if "*" in self._allowed_hosts:
            return True
        found = _HOST.fullmatch(host)
        return found is not None and (found[1] or found[2]).lower() in self._allowed_hosts

    async def _fault(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Inject the next fault. Return True if the request needs no further handling."""
        if self._faults.slow_s > 0:
            await asyncio.sleep(self._faults.slow_s)
        fault = self._faults.take()
        if fault is None:
            return False
        if isinstance(fault, int):
            await _failure(fault)(scope, receive, send)
            return True
        if fault == "drop_after":
            await self._app(scope, receive, _swallow)
        scope["state"][TRANSPORT].abort()
        # The ASGI server must notice the lost connection before the request ends, or it would try to answer.
        await asyncio.sleep(0.01)
        return True


def _is_of_this_site(headers: Headers) -> bool:
    """Return whether the request comes from our own pages or from a program. Programs send no Origin."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return False
    return origin is None or origin.lower() in {f"{scheme}://{headers.get('host', '').lower()}" for scheme in _SCHEMES}


def _failure(status: int) -> Response:
    if status == 500:
        return plain_500()
    return PlainTextResponse(f"Injected fault {status}", status_code=status)


async def _swallow(_message: Message) -> None:
    """Discard a message of an answer that nobody receives."""


def _secured(send: Send) -> Send:
    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_secured


def _with_request_id(scope: Scope, given: str | None, send: Send) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start" and not scope.get("state", {}).get("no_request_id"):
            MutableHeaders(scope=message)["x-request-id"] = given or str(uuid4())
        await send(message)

    return send_with_id
