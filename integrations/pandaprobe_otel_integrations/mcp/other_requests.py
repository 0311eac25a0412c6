"""Content of requests other than tool calls, from client and server, in the library's own spans."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._shape import obj

from .content import plain

TOLD: Final = frozenset(
    {"prompts/get", "resources/read", "completion/complete", "sampling/createMessage", "elicitation/create"}
)
"""Methods whose requests and answers are content."""


class Request:
    """One request, from before its span is opened until after its answer."""

    def __init__(self, method: str, params: Any) -> None:
        self.method = method
        self.span: Span = INVALID_SPAN
        self._params = params

    def opened(self, span: Span) -> None:
        """Keep the span that the library has opened."""
        self.span = span
        guarded(lambda: span.set_attributes(encoded({ours.INPUT: asked(self._params)})))

    def answered(self, result: Any) -> None:
        """Record the answer of the other side."""
        self.span.set_attributes(encoded({ours.OUTPUT: plain(result)}))


_REQUEST: Final[ContextVar[Request | None]] = ContextVar("pandaprobe_mcp_request", default=None)
"""The request whose span is opened next."""


def asked(params: Any) -> Any:
    """Return the parameters of a request."""
    return plain({key: value for key, value in obj(params).items() if key not in ("_meta", "meta")})


def taken(method: Any) -> Request | None:
    """Return the request for which a span of this method is opened."""
    request = _REQUEST.get()
    if request is None or request.method != method:
        return None
    _REQUEST.set(None)
    return request


@contextmanager
def open_ended(tracer: Any, request: Request, name: str, **options: Any) -> Generator[Span]:
    """Yield the library's span of a request, which ends when the answer is recorded."""
    with tracer.start_as_current_span(name, end_on_exit=False, **options) as span:
        request.opened(span)
        yield span


async def sent(
    wrapped: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any], request: Request
) -> Any:
    """Run `send_raw_request` of a dispatcher, and record the answer on the span opened in it."""
    token = _REQUEST.set(request)
    try:
        result = await wrapped(*args, **kwargs)
        guarded(request.answered, result)
        return result
    except Exception:
        raise
    except BaseException:
        request.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        raise
    finally:
        _REQUEST.reset(token)
        guarded(request.span.end)
