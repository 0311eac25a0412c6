"""Common parts of the API's routes: the route class, answers, and parameters.

The class counts the default limit first, and stores a new project after a successful request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.limits import OWN_LIMITS, RateLimitedError
from pandaprobe_otel.local.models.fields import Moment
from pandaprobe_otel.local.payloads import dumps, loads_any
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.store.accounts import Project
from pandaprobe_otel.local.store.records import Slice


class ApiRequest(Request):
    """A request whose body is parsed faster."""

    async def json(self) -> Any:
        """Return the parsed body."""
        if not hasattr(self, "_json"):
            self._json = loads_any(await self.body())
        return self._json


class ApiRoute(APIRoute):
    """A route of the API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the generated handler."""
        handle = super().get_route_handler()
        route = (next(iter(self.methods or ())), self.path)
        counted_first = route not in OWN_LIMITS

        async def limited(request: Request) -> Response:
            services = services_of(request)
            if counted_first:
                # Before authentication and validation, and outside of the layer that adds the request id.
                try:
                    services.limits.spend(request, route)
                except RateLimitedError:
                    request.state.no_request_id = True
                    raise
            response = await handle(ApiRequest(request.scope, request.receive))
            project: Project | None = getattr(request.state, "project", None)
            if project is not None and not project.stored and response.status_code < 400:
                await run_in_threadpool(services.accounts.keep, project)
            return response

        return limited


def answer(content: Any, status: int = 200) -> Response:
    """Return a JSON answer. Stored JSON is copied without parsing."""
    return Response(dumps(content), status_code=status, media_type="application/json")


_INT8_MAX: Final = 2**63 - 1

Offset = Annotated[int, Query(ge=0, le=_INT8_MAX)]
"""The real server fails with a 500 above int8 (measured on server 0.5.0)."""
Since = Annotated[Moment | None, Query()]
RequiredMoment = Annotated[Moment, Query()]
Tags = Annotated[list[str] | None, Query()]


def page_up_to(most: int, default: int) -> Callable[..., Coroutine[Any, Any, Slice]]:
    """Return a reader of the page of a list that a request wants."""

    async def page_of(limit: Annotated[int, Query(ge=1, le=most)] = default, offset: Offset = 0) -> Slice:
        return Slice(limit=limit, offset=offset)

    page_of.__annotations__["limit"] = Annotated[int, Query(ge=1, le=most)]  # `most` is no global name
    return page_of


Page = Annotated[Slice, Depends(page_up_to(200, 50))]


def listed(found: tuple[list[dict[str, Any]], int], page: Slice, **others: Any) -> Response:
    """Return the answer with one page of a list, for its items and the number of all."""
    items, total = found
    return answer({"items": items, "total": total, "limit": page.limit, "offset": page.offset, **others})
