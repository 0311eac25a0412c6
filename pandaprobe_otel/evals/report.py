"""Report of an evaluation, to show, to save, and to compare with a later one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pandaprobe_otel.evals.statistics import Rate, needed, rate
from pandaprobe_otel.evals.verdicts import MetricResult, Outcome, all_of, enough
from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.evals.report_comparison import Comparison

N = TypeVar("N", int, float)

_MAX_BYTES: Final = 16 << 20
"""Maximum number of bytes of the traces of one case. Further traces are omitted, with a marker."""
REPEAT: Final = "repeat"
"""Label of the verdict on the repetitions of a test, which is not a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case: input, output and the results of the metrics. `error` is an error of the task itself."""

    id: str
    input: Any = None
    output: Any = None
    expected: Any = None
    error: str | None = None
    seconds: float = 0.0
    results: tuple[MetricResult, ...] = ()
    traces: tuple[Mapping[str, Any], ...] = ()
    """The traces, as bodies of POST /traces."""
    checked: bool = False
    """True if the case has checks of its own that passed, as a test does. This is evidence without any metric."""

    @property
    def records(self) -> tuple[TraceRecord, ...]:
        """The traces as records."""
        return tuple(map(TraceRecord, self.traces))

    @property
    def tokens(self) -> int | None:
        """Tokens of all its traces and runs; None if no span states any."""
        return _sum(span.tokens for trace in self.records for span in trace.spans)

    @property
    def cost(self) -> float | None:
        """Cost of all its traces and runs in US dollars; None if no span states any."""
        return _sum(trace.cost for trace in self.records)

    @property
    def passed(self) -> bool:
        """Return whether the task ended without an error and every metric passed."""
        return self.outcome is Outcome.PASSED

    def result(self, metric: str) -> MetricResult | None:
        """Return the result of the metric, the worst if there are several; None if it was not judged."""
        found = [result for result in self.results if result.metric == metric]
        return min(found, key=lambda result: (result.outcome.rank, result.value or 0.0), default=None)

    @property
    def outcome(self) -> Outcome:
        """The worst of its verdicts: failed, no evidence, or passed. A case whose task failed has failed."""
        if self.error is not None:
            return Outcome.FAILED
        return all_of([*(result.outcome for result in self.results), *([Outcome.PASSED] if self.checked else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values. Values without a JSON form become text."""
        content = {"input": self.input, "output": self.output, "expected": self.expected, "traces": self.traces}
        return {
            "id": self.id,
            "outcome": self.outcome,
            "error": self.error,
            "checked": self.checked,
            "seconds": self.seconds,
            "results": [result.to_dict() for result in self.results],
            **json.loads(encode(content, _MAX_BYTES)),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of all cases."""

    name: str
    cases: tuple[CaseResult, ...]
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """ISO 8601, UTC."""
    notes: tuple[str, ...] = field(default=())
    """Other problems, such as traces that were not delivered, and the use of caches."""
    pass_rate: float = 1.0
    """Share of the cases that must pass."""
    complete: bool = True
    """False if the run was stopped, so that cases are missing."""
    trace_url: str | None = None
    """Address of trace pages, with `{trace_id}` in it. None: the traces have no pages."""
    comparison: Comparison | None = None
    """Comparison with the baseline, if one is a gate; see `against`."""

    @property
    def passed(self) -> bool:
        """Return whether enough cases passed, with evidence."""
        return self.outcome is Outcome.PASSED

    @property
    def outcome(self) -> Outcome:
        """Passed, failed, or no evidence. No evidence: there are no cases, or missing judgements could change the
        result.

        With a baseline: the worse of this and the comparison's verdict.
        """
        found = enough((case.outcome for case in self.cases), needed(self.pass_rate, len(self.cases)))
        whole = [] if self.complete else [Outcome.NO_EVIDENCE]
        return all_of([found, *whole, *([] if self.comparison is None else [self.comparison.outcome])])

    @property
    def rate(self) -> Rate:
        """Number of passed cases among those with evidence."""
        outcomes = [case.outcome for case in self.cases]
        unknown = outcomes.count(Outcome.NO_EVIDENCE)
        return rate(outcomes.count(Outcome.PASSED), len(outcomes) - unknown, unknown)

    @property
    def tokens(self) -> int | None:
        """Tokens of all traces; None if no span states any."""
        return _sum(case.tokens for case in self.cases)

    @property
    def cost(self) -> float | None:
        """Cost of all traces in US dollars, without the judge; None if no span states any."""
        return _sum(case.cost for case in self.cases)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in order of occurrence."""
        return tuple(dict.fromkeys(result.metric for case in self.cases for result in case.results))

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the cases that have a score with evidence."""
        values: dict[str, list[float]] = {}
        for case in self.cases:
            for result in case.results:
                if result.finding == "scored" and result.value is not None:
                    values.setdefault(result.metric, []).append(result.value)
        return {metric: sum(found) / len(found) for metric, found in values.items()}

    def assert_passed(self) -> None:
        """Raise AssertionError with the table unless the report passed. This is for unittest and scripts."""
        __tracebackhide__ = True
        if not self.passed:
            raise AssertionError(f"{self.rate}\n\n{self}")

    def compare(self, baseline: Report, *, alpha: float = 0.05) -> Comparison:
        """Compare with an earlier report, case by case. A change counts if its p-value is below alpha."""
        from pandaprobe_otel.evals.report_comparison import compare

        return compare(self, baseline, alpha=alpha)

    def against(self, baseline: Report) -> Self:
        """Return the report with an earlier one as a gate: a regression then fails it, regardless of the thresholds."""
        return replace(self, comparison=self.compare(baseline))

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each case and metric, for example for pandas."""
        return [{"case": case.id, **result.row()} for case in self.cases for result in case.results]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "created_at": self.created_at,
            "outcome": self.outcome,
            "pass_rate": self.pass_rate,
            "complete": self.complete,
            "trace_url": self.trace_url,
            "cases": [case.to_dict() for case in self.cases],
            "notes": list(self.notes),
            **({} if self.comparison is None else _compared(self.comparison)),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`, without the baseline, which is another file."""
        cases: list[CaseResult] = []
        for body in plain["cases"]:
            fields = {name: value for name, value in body.items() if name != "outcome"}
            fields["results"] = tuple(map(MetricResult.from_dict, body["results"]))
            fields["traces"] = tuple(body["traces"])
            cases.append(CaseResult(**fields))
        return cls(
            name=plain["name"],
            created_at=plain["created_at"],
            cases=tuple(cases),
            notes=tuple(plain["notes"]),
            pass_rate=plain.get("pass_rate", 1.0),
            complete=plain.get("complete", True),
            trace_url=plain.get("trace_url"),
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a report that was saved as JSON. Raises ValueError for any other file."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a report: {type(error).__name__}: {error}") from None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report in the form of the suffix: `.json` (can be read back), `.md` or `.html` (a single file).

        Raises ValueError for another suffix.
        """
        from pandaprobe_otel.evals.report_blocks import report_page

        check_form(path)
        target = Path(path).expanduser()
        if target.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        else:
            text = self.to_markdown() if target.suffix == ".md" else report_page(self)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="replace")

    def to_markdown(self) -> str:
        """Return the report as Markdown, for a job summary or a comment."""
        from pandaprobe_otel.evals.report_blocks import report_markdown

        return report_markdown(self)

    def __str__(self) -> str:
        from pandaprobe_otel.evals.report_blocks import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from pandaprobe_otel.evals.report_blocks import report_html

        return report_html(self)


class EvaluationStopped(KeyboardInterrupt):
    """Ctrl-C, with the report of the cases until then."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report.rate))
        self.report = report


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {"regressions": [change.metric for change in comparison.regressions], "comparison": str(comparison)}


def _sum(values: Iterable[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def check_form(path: str | PathLike[str]) -> None:
    """Raise ValueError for an unknown suffix, and for a file that cannot be written."""
    if Path(path).suffix not in (".json", ".md", ".html", ".htm"):
        raise ValueError(f"the report {path} must end in .json, .md or .html")
    target = Path(path).expanduser().absolute()
    place = next(each for each in target.parents if each.exists())
    if target.is_dir() or not place.is_dir() or not os.access(target if target.exists() else place, os.W_OK):
        raise ValueError(f"the report {path} cannot be written")


# -- other thresholds --------------------------------------------------------------------------------------------------


def gated(
    report: Report,
    *,
    metrics: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    pass_rate: float | None = None,
    allow_vacuous: bool = False,
) -> Report:
    """Return the report with a verdict for these thresholds. Omitted thresholds stay unchanged.

    The result has no baseline; pass it again.

    metrics: the metrics that count. Default: all of the run.
    thresholds: thresholds by metric; "" stands for all others. Repetitions of a test are not a metric and count as
    before.

    Raises ValueError for a metric that the run does not have.
    """
    thresholds = thresholds or {}
    known = [metric for metric in report.metrics if metric != REPEAT]
    unknown = [name for name in (*metrics, *thresholds) if name and name not in known]
    if unknown and known:  # If every task failed, the report names no metric.
        raise ValueError(f"{unknown[0]} is not a metric of this run; its metrics are {', '.join(known)}")
    chosen = metrics or known

    def decided(result: MetricResult) -> MetricResult:
        if result.metric == REPEAT:
            return result
        threshold = thresholds.get(result.metric, thresholds.get("", result.threshold))
        return replace(result, threshold=threshold, allow_vacuous=result.allow_vacuous or allow_vacuous)

    def case(one: CaseResult) -> CaseResult:
        kept = (result for result in one.results if result.metric in (REPEAT, *chosen))
        return replace(one, results=tuple(map(decided, kept)))

    return replace(
        report,
        cases=tuple(map(case, report.cases)),
        pass_rate=report.pass_rate if pass_rate is None else pass_rate,
        comparison=None,
    )
