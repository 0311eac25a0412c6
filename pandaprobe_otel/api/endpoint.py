"""Description of an endpoint, which both the synchronous and the asynchronous client use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from string import Formatter
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Scope(Enum):
    """Credentials that a route needs."""

    PROJECT = "project"
    """An API key with a project name, or a bearer token with a project id."""
    MANAGEMENT = "management"
    """A bearer token; the server refuses API keys here (measured on server 0.5.0)."""


class Repeat(Enum):
    """Safety of sending a request again if the first one may have been executed."""

    SAFE = "safe"
    """Reads, and writes that have the same result when repeated."""
    NEVER = "never"
    """Requests that each create something: a run, a score, a monitor."""


class Rate(Enum):
    """Rate limits of the server, as classes of routes (measured on server 0.5.0)."""

    TRACES = "traces"
    """POST /traces: 100 a minute."""
    RUNS = "runs"
    """Creating evaluation runs: 50 a minute for each path."""
    TRIGGER = "trigger"
    """Triggering a monitor: 10 a minute for each monitor."""
    OTHER = "other"
    """All other routes: 200 a minute for each path, whatever the method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[T]):
    """Route of the API: its arguments, its answer, its rate limit, and whether it may be repeated.

    `query` and `body` are TypedDicts (the body of one route is a list of them). `answer` is a model, a list of
    models, or None for an answer without a body.
    """

    method: Method
    path: str
    answer: type[T]
    query: type[Mapping[str, Any]] | None = None
    body: Any = None
    repeat: Repeat = Repeat.SAFE
    rate: Rate = Rate.OTHER
    scope: Scope = Scope.PROJECT

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.path) if name)

    def of(self, kind: str) -> Endpoint[T]:
        """Return the route for a kind of object, `trace` or `session`, which a path names as `{kind}`."""
        return replace(self, path=self.path.replace("{kind}", kind))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
