"""Requirements of a test or evaluation: metrics, thresholds, repetitions. They can be sent to other processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self, cast

from pandaprobe_otel.evals.verdicts import Repetition, share

DEFAULT_THRESHOLD: Final = 0.5
"""Default threshold of every PandaProbe metric (measured on server 0.5.0). Runs have no thresholds of their own."""

Metrics = str | Iterable[str] | Mapping[str, float] | Mapping[str, float | None]
"""Names, or names with a threshold each. None: the common threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Metrics with their thresholds, the number of runs, and how many of them must pass."""

    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metrics of a judge."""
    scorers: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metrics of the caller's own."""
    repetition: Repetition = field(default_factory=Repetition)
    session: bool = False
    allow_vacuous: bool = False
    model: str | None = None

    def __post_init__(self) -> None:
        for value in self.thresholds.values():
            share(threshold=value)

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of all metrics."""
        return {**self.metrics, **self.scorers}

    @classmethod
    def of_marker(
        cls,
        *,
        metrics: Metrics = (),
        threshold: float | None = None,
        repeat: int = 1,
        min_pass: float = 1.0,
        session: bool = False,
        allow_vacuous: bool = False,
        model: str | None = None,
    ) -> Self:
        """Read the arguments of `@pytest.mark.pandaprobe`.

        metrics: names, or names with a threshold each.
        threshold: the threshold of metrics without one (default 0.5).
        repeat, min_pass: the number of runs, and the share of them that must pass (default: all).
        session: the metrics are those of sessions, and the test's traces become one session.
        allow_vacuous: pass even if the judge had nothing to judge.
        model: the judge model. Default: the server's.

        Raises ValueError for invalid arguments.
        """
        common = DEFAULT_THRESHOLD if threshold is None else threshold
        share(threshold=common)
        if isinstance(metrics, Mapping):
            given = cast("Mapping[str, float | None]", metrics)
            named = {name: common if value is None else value for name, value in given.items()}
        else:
            named = dict.fromkeys((metrics,) if isinstance(metrics, str) else metrics, common)
        return cls(
            metrics=named,
            repetition=Repetition(repeat=repeat, min_pass=min_pass),
            session=session,
            allow_vacuous=allow_vacuous,
            model=model,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        values: dict[str, Any] = {**fields, "repetition": Repetition(**fields["repetition"])}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def parse_metrics(text: str | None) -> Mapping[str, float | None]:
    """Parse `task_completion, tool_correctness=0.8`: names with their thresholds. None: the name has no threshold.

    Raises ValueError for a threshold that is not a number between 0 and 1.
    """
    named: dict[str, float | None] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        try:
            named[name] = float(number) if sign else None
        except ValueError:
            raise ValueError(f"{part}: {number!r} is not a number") from None
        if named[name] is not None:
            share(**{name: named[name]})
    return named
