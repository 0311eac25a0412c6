"""A trace in the form that the rules read: its spans in order, each with its ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

_NOTHING: Final[Mapping[str, Any]] = {}


class Step:
    """A span with the fields that rules read."""

    __slots__ = ("body", "ended", "error", "failed", "id", "kind", "metadata", "name", "parent_id", "started")

    def __init__(self, body: Mapping[str, Any]) -> None:
        get = body.get
        self.body = body
        self.id = str(get("span_id"))
        parent = get("parent_span_id")
        self.parent_id = None if parent is None else str(parent)
        self.kind = str(get("kind", "OTHER"))
        self.metadata = members(get("metadata"))
        self.started = _moment(get("started_at"))
        ended = get("ended_at")
        self.ended = self.started if ended is None else _moment(ended)
        self.failed = get("status") == "ERROR"
        self.error = str(get("error") or "") if self.failed else ""
        self.name = str(get("name", ""))
        if self.kind in ("LLM", "EMBEDDING"):
            self.name = _without_model(self.name, self.models)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the requested model."""
        named = (self.body.get("model"), self.metadata.get("request_model"), self.metadata.get("response_model"))
        return tuple(name for name in named if isinstance(name, str) and name)

    @property
    def output(self) -> Any:
        """The output."""
        return self.body.get("output")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of a model call."""
        return members(self.body.get("model_parameters"))


class Trace:
    """A trace. Its steps are sorted by start, and parents come before children."""

    __slots__ = ("_by_id", "body", "failed", "metadata", "name", "steps")

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.name = str(body.get("name", ""))
        self.failed = body.get("status") == "ERROR"
        self.metadata = members(body.get("metadata"))
        steps = [Step(members(span)) for span in items(body.get("spans"))]
        self._by_id = {step.id: step for step in steps}
        steps.sort(key=lambda step: (step.started, -step.ended, step.id))
        self.steps: Sequence[Step] = steps

    def above(self, step: Step) -> Iterator[Step]:
        """Yield the ancestors of a step, innermost first, each once even if they form a cycle."""
        seen = {step.id}
        parent = self._by_id.get(step.parent_id or "")
        while parent is not None and parent.id not in seen:
            seen.add(parent.id)
            yield parent
            parent = self._by_id.get(parent.parent_id or "")

    @property
    def known_values(self) -> tuple[str | None, ...]:
        """Values of this run that error messages may repeat."""
        values = (self.body.get(name) for name in ("trace_id", "session_id", "user_id", "release"))
        return tuple(value for value in values if isinstance(value, str))


def members(value: Any) -> Mapping[str, Any]:
    """Return a value if it is an object; otherwise an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _NOTHING


def items(value: Any) -> Iterable[Any]:
    """Return a value if it is a list; otherwise an empty one."""
    return cast("Iterable[Any]", value) if isinstance(value, list | tuple) else ()


def _moment(value: Any) -> float:
    """Return a moment in seconds, from ISO 8601 text or from the local store's microseconds."""
    if isinstance(value, int | float):
        return value / 1e6
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _without_model(name: str, models: Iterable[str]) -> str:
    for model in models:
        if model in name:
            return " ".join(name.replace(model, " ").split())
    return name
