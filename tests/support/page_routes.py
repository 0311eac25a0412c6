"""Routes of a local PandaProbe's pages."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from fastapi.routing import APIRoute

from pandaprobe_otel.local import pages


def page_routes(method: str) -> list[APIRoute]:
    """Return the routes of all pages for a method."""
    names = [f"{pages.__name__}.{one.name}" for one in pkgutil.iter_modules(pages.__path__)]
    routers = [found for name in names if (found := getattr(import_module(name), "router", None)) is not None]
    routes = [one for router in routers for one in router.routes if isinstance(one, APIRoute)]
    return [one for one in routes if method in (one.methods or ()) and one.path.startswith("/ui")]
