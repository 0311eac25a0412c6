"""The result of an evaluation run: its scores, those that judged nothing, and their display."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, cast

from pandaprobe_otel.api.models import EvalRun, Score
from pandaprobe_otel.errors import InsufficientEvidence, RunFailed
from pandaprobe_otel.traces.blocks import Table, html, line, text

if TYPE_CHECKING:
    import pandas

_REASONS: Final = re.compile(
    r"coherence assumed"
    r"|no evaluable traces"
    r"|nothing to (?:evaluate|judge|assess|compare)"
    r"|no plan (?:found|was found|is present|present)"
    r"|no tool calls? (?:in|were|was|found|made|to)"
    r"|cannot be assessed"
    r"|no previous (?:outputs|traces)",
    re.IGNORECASE,
)
_EVIDENCE: Final = ("verdicts", "plan")
"""Metadata keys of the judge's findings, for metrics that search for something."""


def vacuous_reason(score: Score) -> str | None:
    """Return the reason why a score is vacuous; None if there was something to judge, or it is not the best score."""
    value = score.parsed
    return reason_of_vacuity(value, score.reason, score.metadata) if isinstance(value, float) else None


def reason_of_vacuity(value: float, reason: str | None, metadata: Mapping[str, Any]) -> str | None:
    """Return the reason why a score that is not from a server is vacuous; None if it is not."""
    if value < 1.0:
        return None
    said = reason or "no reason given"
    if "note" in metadata:
        return f"{metadata['note']}: {said}"
    if any(metadata.get(name) == [] for name in _EVIDENCE) or _REASONS.search(said):
        return said
    return _without_signals(metadata)


def _without_signals(metadata: Mapping[str, Any]) -> str | None:
    """Return why a session's score lacks evidence: missing signals of its traces count as no risk."""
    signals: Any = metadata.get("per_trace_signals")
    if metadata.get("traces_evaluated") == 0:
        return "no trace of the session was evaluated"
    if not isinstance(signals, dict):
        return None
    values = [value for trace in cast("Mapping[str, Mapping[str, Any]]", signals).values() for value in trace.values()]
    return None if any(values) else "no trace of the session gave a signal"


@dataclass(frozen=True, slots=True)
class Pair:
    """Target (the id of a trace or session) and metric."""

    target: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """State of a run and its scores.

    A finished run proves nothing: it is COMPLETED even if every metric failed. Check `ok`, or `failed`, `missing` and
    `vacuous` separately.
    """

    run: EvalRun
    scores: tuple[Score, ...]

    @cached_property
    def failed(self) -> tuple[Score, ...]:
        """Failed scores, each with a `reason`."""
        return tuple(score for score in self.scores if score.status == "FAILED")

    @cached_property
    def vacuous(self) -> Mapping[Pair, str]:
        """Best scores that were given because there was nothing to judge, each with the reason (`vacuous_reason`)."""
        reasons = ((score, vacuous_reason(score)) for score in self.scores)
        return {_pair(score): reason for score, reason in reasons if reason is not None}

    @cached_property
    def missing(self) -> tuple[Pair, ...]:
        """Requested targets without any score; the server counts unknown ids as evaluated.

        They are known only for runs over given targets. For runs over filters, only their number is known
        (`missing_count`).
        """
        if self.run.filters.get("retry_of") is not None:
            return ()  # only the failed pairs of each target were evaluated again
        given = self.run.filters.get("trace_ids") or self.run.filters.get("session_ids") or ()
        there = {_pair(score) for score in self.scores}
        wanted = (Pair(str(target), metric) for target in given for metric in self.run.metric_names)
        return tuple(pair for pair in wanted if pair not in there)

    @property
    def missing_count(self) -> int:
        """Number of pairs of target and metric without any score."""
        if self.run.filters.get("retry_of") is not None:
            return 0
        return max(self.run.total_targets * len(self.run.metric_names) - len({_pair(s) for s in self.scores}), 0)

    @property
    def ok(self) -> bool:
        """True if every pair got a score based on evidence. The scores may still be bad."""
        return bool(self.scores) and not self.failed and not self.vacuous and not self.missing_count

    def raise_unless_ok(self) -> Self:
        """Return this result if it is `ok`, so that a script cannot accept an empty result.

        Raises `RunFailed` if a score failed or is missing, or nothing was evaluated. Raises `InsufficientEvidence` if
        the only problem is that there was nothing to judge.
        """
        if self.ok:
            return self
        if self.failed or self.missing_count or not self.scores:
            reasons = {score.reason or "no reason given" for score in self.failed}
            words = f": {'; '.join(sorted(reasons)[:3])}" if reasons else ""
            raise RunFailed(
                f"Evaluation run {self.run.id} gave {len(self.scores) - len(self.failed)} scores; {len(self.failed)} "
                f"failed and {self.missing_count} are missing{words}."
            )
        pair, reason = next(iter(self.vacuous.items()))
        raise InsufficientEvidence(
            f"Evaluation run {self.run.id} gave {len(self.vacuous)} scores without anything to judge; the first is "
            f"{pair.metric} of {pair.target}: {reason}"
        )

    @cached_property
    def by_target(self) -> Mapping[str, Mapping[str, Score]]:
        """Scores of each target, by metric."""
        table: dict[str, dict[str, Score]] = defaultdict(dict)
        for score in self.scores:
            table[score.target][score.name] = score
        return dict(table)

    def values(self, metric: str, *, vacuous: bool = False) -> tuple[float, ...]:
        """Return the numbers of a metric, without vacuous ones unless requested."""
        return tuple(
            value
            for score in self.scores
            if score.name == metric
            and isinstance(value := score.parsed, float)
            and (vacuous or _pair(score) not in self.vacuous)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each pair, including those without a score."""
        given = [
            {
                "target": score.target,
                "metric": score.name,
                "value": score.parsed,
                "status": str(score.status),
                "reason": score.reason,
                "vacuous": self.vacuous.get(_pair(score)),
            }
            for score in self.scores
        ]
        rest = {"value": None, "status": "MISSING", "reason": "no score was given", "vacuous": None}
        return [*given, *({"target": pair.target, "metric": pair.metric, **rest} for pair in self.missing)]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a table. Needs pandas, which is not a dependency of this library."""
        from pandaprobe_otel.api.models import frame

        return frame(self.rows())

    def __str__(self) -> str:
        return result_text(self)

    def _repr_html_(self) -> str:
        return result_html(self)


def _pair(score: Score) -> Pair:
    return Pair(score.target, score.name)


def result_text(result: RunResult) -> str:
    """Return the verdict, and one line for each pair of target and metric."""
    rows = [f"  {row['metric']}  {row['target']}  {_value(row)}  {_note(row)}".rstrip() for row in result.rows()]
    return "\n".join([_verdict(result), *rows])


def result_html(result: RunResult) -> str:
    """Return the verdict and a table of the pairs."""
    rows = [
        [text(row["metric"]), text(row["target"]), text(_value(row), _style(row)), text(_note(row), "dim")]
        for row in result.rows()
    ]
    title = text(_verdict(result), "good" if result.ok else "bad")
    body = [Table(["metric", "target", "score", "reason"], rows)] if rows else []
    return html([title], [line(text(result.run.id, "dim")), *body])


def _verdict(result: RunResult) -> str:
    good = len(result.scores) - len(result.failed) - len(result.vacuous)
    counts = {"failed": len(result.failed), "missing": result.missing_count, "without evidence": len(result.vacuous)}
    told = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return f"evaluation {result.run.status}: {good} scores{told}"


def _value(row: Mapping[str, Any]) -> str:
    if row["vacuous"] is not None:
        return f"{row['value']} (nothing to judge)"
    return str(row["status"] if row["value"] is None else row["value"])


def _note(row: Mapping[str, Any]) -> str:
    return " ".join(str(row["vacuous"] or row["reason"] or "").split())


def _style(row: Mapping[str, Any]) -> str:
    """Return the CSS class of a score. It never marks a score as good: only a threshold could, and only the caller has
    one.
    """
    if row["vacuous"] is not None:
        return "unsure"
    return "bad" if row["value"] is None else ""
