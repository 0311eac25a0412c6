"""Values for the path of a request, checked before it is sent."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from pandaprobe_otel.api.encoding import invalid
from pandaprobe_otel.errors import FieldError


@runtime_checkable
class HasTraceId(Protocol):
    """A trace, or a trace in a list."""

    @property
    def trace_id(self) -> UUID:
        """Id of the trace."""
        ...


TraceRef: TypeAlias = UUID | str | HasTraceId
"""A trace, given by its id or as an object."""


def uuid_of(name: str, value: object, *, what: str) -> str:
    """Return an id in the form for a path.

    Raises:
        InvalidRequest: the id is not a UUID. For a span id of OpenTelemetry (16 digits), see `ids.span_uuid`.
    """
    try:
        return str(value if isinstance(value, UUID) else UUID(str(value)))
    except ValueError:
        raise invalid(what, FieldError(name, f"must be a UUID, not {str(value)[:80]!r}")) from None


def trace_uuid_of(trace: TraceRef, *, what: str) -> str:
    """Return the id of a trace that is given by its id or as an object."""
    return uuid_of("trace_id", trace.trace_id if isinstance(trace, HasTraceId) else trace, what=what)


def session_of(session_id: str, *, what: str) -> str:
    """Return a session id for a path.

    Raises:
        InvalidRequest: the server has no route to the session. Its id is empty, equals the name of another route, or
            has a slash. The server reads a slash as a separator even if it is encoded (measured on server 0.5.0).
    """
    problem = None
    if not isinstance(session_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        problem = f"must be a text, not {session_id!r:.80}"
    elif not session_id or session_id in (".", ".."):
        problem = "must not be empty or consist of dots only"
    elif "/" in session_id:
        problem = "has a slash: such a session can be listed, but the server has no route to it"
    elif session_id == "analytics":
        problem = "equals the name of the analytics route, so the server has no route to it"
    if problem is not None:
        raise invalid(what, FieldError("session_id", problem))
    return session_id


def organization_path(
    organization_id: UUID | str | None, default: str | None, *, what: str, **others: object
) -> dict[str, str]:
    """Return the path values of a route of an organization; `others` are additional ids.

    Raises:
        InvalidRequest: neither this call nor the client names an organization, or an id is not a UUID.
    """
    organization = default if organization_id is None else organization_id
    if organization is None:
        raise invalid(what, FieldError("organization_id", "is missing: pass it here or to the client"))
    path = {"org_id": uuid_of("organization_id", organization, what=what)}
    return {**path, **{name: uuid_of(name, value, what=what) for name, value in others.items()}}
