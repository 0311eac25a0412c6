"""Common parts of all pages: who may see them, their files, the projects, the selected one, and links that keep it.

The pages are free on an open local server, and need the token on a server with `auth`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.local.pages.rendering import STATIC, page
from pandaprobe_otel.local.search.language import parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.services import Services, services_of
from pandaprobe_otel.local.store.accounts import Project
from pandaprobe_otel.local.store.records import Slice
from pandaprobe_otel.local.store.trace_filter import Search

T = TypeVar("T")

COOKIE: Final = "pandaprobe_local"
PAGE_SIZE: Final = 50
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class SignInNeededError(Exception):
    """The pages need the server's token."""


class MissingPageError(Exception):
    """Nothing has the id of the page's address."""


def show_missing(request: Request, error: Exception) -> Response:
    """Show that nothing has an id."""
    return page("missing.html", status=404, context=context_of(request, None, "traces"), what=str(error))


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


def pages_router(prefix: str = "/ui") -> APIRouter:
    """Return a router for pages that only the signed-in may see."""
    return APIRouter(prefix=prefix, include_in_schema=False, dependencies=[Depends(signed_in)])


router = APIRouter(include_in_schema=False)


@router.get("/ui/sign-in")
def show_sign_in() -> Response:
    """Show the form that asks for the token."""
    return page("sign_in.html", wrong=False)


@router.post("/ui/sign-in")
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


@router.get("/favicon.ico")
def icon() -> Response:
    """Return the icon that browsers request for an answer that is not a page, such as the JSON of a trace."""
    return static_file("panda.svg")


@router.get("/ui/static/{name}")
def static_file(name: str) -> Response:
    """Return a file that belongs to the pages."""
    files = _files()
    if name not in files:
        raise HTTPException(404)
    return Response(files[name], media_type=_TYPES[name.rsplit(".", 1)[1]], headers={"cache-control": "no-cache"})


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix[1:] in _TYPES}


def _proof(token: str) -> str:
    """Return a proof of knowing the token. It does not contain the token, so that the cookie cannot open the API."""
    return hashlib.sha256(b"pages:" + token.encode()).hexdigest()


class Asked(BaseModel, frozen=True):
    """Query of a list: a search, the project, and the place in the list."""

    q: str = ""
    project: str | None = None
    offset: Annotated[int, Field(ge=0, le=2**62)] = 0

    @property
    def page(self) -> Slice:
        """The wanted page of the list."""
        return Slice(limit=PAGE_SIZE, offset=self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Services of a page, the available projects, and the selected one (None if there is no project)."""

    services: Services
    projects: list[Project]
    project: Project | None
    active: str
    state: str
    """State of the store before the page's data was read, so that a polling page misses no change."""

    @property
    def project_id(self) -> str:
        """Id of the selected project; empty if there is no project."""
        return "" if self.project is None else self.project.id

    def link(self, path: str, **query: Any) -> str:
        """Return a link within the project, without empty values."""
        values = {"project": self.project_id, **query}
        kept = [(key, value) for key, value in values.items() if value not in (None, "", False, ())]
        return f"{path}?{urlencode(kept, doseq=True)}" if kept else path

    def searched(self, q: str, find: Callable[[Search], T]) -> tuple[T | None, tuple[str, ...], SearchError | None]:
        """Return the result of a search, notes on it, and its error, if any."""
        try:
            parsed = parse(q)
            return find(Search(query=parsed.query, now=self.services.now())), parsed.notes, None
        except SearchError as error:
            return None, (), error


def context_of(request: Request, project: str | None, active: str) -> Context:
    """Return the context of a page. The default project is the one with the newest trace."""
    services = services_of(request)
    state = state_of(services)
    projects = services.accounts.all_projects()
    wanted = (project, services.queries.newest_project())
    chosen = next(
        (found for project_id in wanted for found in projects if found.id == project_id),
        projects[-1] if projects else None,
    )
    return Context(services=services, projects=projects, project=chosen, active=active, state=state)


def state_of(services: Services) -> str:
    """Return a text that changes with the store and with the start and end of running traces."""
    return f"{services.database.state} {services.live.state}"
