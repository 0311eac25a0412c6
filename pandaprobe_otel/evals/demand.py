"""What a marker asks for, checked and in a form that travels between processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, cast

from pandaprobe_otel.evals.statistics import needed

DEFAULT_THRESHOLD: Final = 0.5
"""The default of every metric of PandaProbe (measured on server 0.5.0); runs know no thresholds of their own."""

Metrics = str | Iterable[str] | Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Metrics with their thresholds, how often a test runs, and how many of the runs must pass."""

    metrics: Mapping[str, float]
    repeat: int = 1
    min_pass: float = 1.0
    session: bool = False
    confirm: int = 1
    allow_vacuous: bool = False
    model: str | None = None

    @classmethod
    def of(
        cls,
        *,
        metrics: Metrics = (),
        threshold: float | None = None,
        repeat: int = 1,
        min_pass: float | None = None,
        session: bool = False,
        confirm: int = 1,
        allow_vacuous: bool = False,
        model: str | None = None,
    ) -> Self:
        """Read the arguments of `@pytest.mark.pandaprobe`.

        metrics: names, or names with a threshold each. threshold: of those without one (default 0.5).
        repeat, min_pass: run the test so many times; this share of the runs must pass (default: all).
        session: the metrics are of sessions; the test's traces become one session.
        confirm: ask the judge again after a "no", up to this many times in all; the majority decides.
        allow_vacuous: pass also where the judge had nothing to judge.
        model: the judge, if not the server's own.

        Raises ValueError for what cannot be meant.
        """
        if isinstance(metrics, Mapping):
            given = cast("Mapping[str, float]", metrics)
            named = {name: _share("threshold", value) for name, value in given.items()}
        else:
            common = _share("threshold", DEFAULT_THRESHOLD if threshold is None else threshold)
            named = dict.fromkeys((metrics,) if isinstance(metrics, str) else metrics, common)
        for what, count in (("repeat", repeat), ("confirm", confirm)):
            if not _is_whole(count) or count < 1:
                raise ValueError(f"{what}={count!r} is not a whole number of 1 or more")
        return cls(
            metrics=named,
            repeat=repeat,
            min_pass=1.0 if min_pass is None else _share("min_pass", min_pass),
            session=session,
            confirm=confirm,
            allow_vacuous=allow_vacuous,
            model=model,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_dict` made."""
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @property
    def needed(self) -> int:
        """How many of the runs must pass."""
        return needed(self.min_pass, self.repeat)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{what}={cast('Any', value)!r} is not between 0 and 1")
    return float(value)
