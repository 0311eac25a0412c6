"""Style sheet and script of the pages."""

from __future__ import annotations

from functools import cache
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.local.pages.rendering import STATIC

router = APIRouter(include_in_schema=False)

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


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
