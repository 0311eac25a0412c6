"""Access to the pages: free on an open local server, with the token on a server with `auth`."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.services import services_of

router = APIRouter(prefix="/ui", include_in_schema=False)

COOKIE: Final = "pandaprobe_local"


class SignInNeededError(Exception):
    """The pages need the server's token."""


async def signed_in(request: Request) -> None:
    """Allow a request to see the pages. Raises SignInNeededError."""
    settings = services_of(request).settings
    if not settings.auth:
        return
    given = request.cookies.get(COOKIE, "")
    if settings.token is None or not hmac.compare_digest(given.encode(), _proof(settings.token).encode()):
        raise SignInNeededError


async def to_sign_in(_request: Request, _error: Exception) -> Response:
    """Redirect a browser to the form that asks for the token."""
    return RedirectResponse("/ui/sign-in", status_code=303)


@router.get("/sign-in")
def show_sign_in() -> Response:
    """Show the form that asks for the token."""
    return page("sign_in.html", wrong=False)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Check the token and store proof of it in a cookie that scripts and other sites cannot use."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    given = form.get("token", [""])[0].strip()
    expected = services_of(request).settings.token
    if expected is None or not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        return page("sign_in.html", status=401, wrong=True)
    response = RedirectResponse("/ui", status_code=303)
    response.set_cookie(COOKIE, _proof(expected), httponly=True, samesite="strict", path="/ui")
    return response


def _proof(token: str) -> str:
    """Return a proof of knowing the token. It does not contain the token, so that the cookie cannot open the API."""
    return hashlib.sha256(b"pages:" + token.encode()).hexdigest()
