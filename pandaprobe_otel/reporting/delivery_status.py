"""Delivery status for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandaprobe_otel.config.settings import SETTINGS

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Delivery status at one moment: spans_ended = spans_delivered + sum(spans_dropped.values()) + spans_pending.

    `scores_dropped` counts the scores that were not delivered, by reason. `answers` counts the server's answers by
    meaning. `settings` holds (value, source) of each setting, with secrets masked. `instrumented` states for each
    library whether it is hooked, and if not, why.
    """

    enabled: bool
    endpoint: str
    project_name: str
    spans_ended: int = 0
    spans_delivered: int = 0
    spans_pending: int = 0
    spans_dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    scores_dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    traces_delivered: int = 0
    answers: Mapping[str, int] = field(default_factory=dict[str, int])
    last_error: str | None = None
    problems: tuple[str, ...] = ()
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, "tuple[str, str]"])
    instrumented: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        """Return the counts in a few lines, for `print`; `repr` has all fields."""
        dropped = "".join(f", {count} {reason}" for reason, count in self.spans_dropped.items() if count)
        scores = ", ".join(f"{count} {reason}" for reason, count in self.scores_dropped.items())
        lines = [
            f"PandaProbe: {self._place()}",
            f"spans: {self.spans_ended} ended, {self.spans_delivered} delivered, {self.spans_pending} waiting{dropped}",
            f"traces: {self.traces_delivered} delivered",
            *([f"scores dropped: {scores}"] if scores else []),
            *(f"problem: {problem}" for problem in self.problems),
        ]
        if self.last_error is not None:
            lines.append(f"last error: {self.last_error}")
        return "\n".join(lines)

    def _place(self) -> str:
        return f"project {self.project_name!r} at {self.endpoint}" if self.enabled else "not sending"


def described(config: Config, more_problems: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of `Status` that describe the settings, with secrets masked."""
    settings: dict[str, tuple[str, str]] = {}
    for setting in SETTINGS:
        value = getattr(config, setting.name)
        shown = "***" if setting.is_secret and value else str(value)
        settings[setting.name] = (shown, config.sources.get(setting.name, "default"))
    return {
        "endpoint": config.destination,
        "project_name": config.project_name,
        "problems": (*(problem.message for problem in config.problems), *more_problems),
        "settings": settings,
    }
