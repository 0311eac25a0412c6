"""What became of the spans, as the user sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One reading: spans_ended = spans_delivered + sum(spans_dropped.values()) + spans_pending.

    `answers` counts the server's answers by what they meant; `settings` holds (value, source) of each setting,
    with secrets masked; `instrumented` says of each library whether it is hooked and why not.
    """

    enabled: bool
    endpoint: str
    project_name: str
    spans_ended: int = 0
    spans_delivered: int = 0
    spans_pending: int = 0
    spans_dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    traces_delivered: int = 0
    answers: Mapping[str, int] = field(default_factory=dict[str, int])
    last_error: str | None = None
    problems: tuple[str, ...] = ()
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, "tuple[str, str]"])
    instrumented: Mapping[str, str] = field(default_factory=dict[str, str])
