"""A report in GitHub Actions: annotations, and the summary of the job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pandaprobe_otel.evals.report import Report
from pandaprobe_otel.evals.report_blocks import baseline_complaints, complaints
from pandaprobe_otel.evals.verdicts import Outcome

_MOST_BYTES: Final = 1 << 20
"""Largest summary of a step, in bytes."""
_CUT: Final = b"\nThere is more, for which a summary has no room: see the report.\n"


def error_commands(
    report: Report, places: Mapping[str, tuple[str, int | None]] | None = None, *, allow_no_evidence: bool = False
) -> list[str]:
    """Return a workflow command for each case that did not pass, and for each regression against the baseline.

    Print them to standard output.

    places: file and line of cases, which are tests. Lines count from 0, as in pytest.
    """
    places = places or {}
    said = [(case.outcome, case.id, words) for case in report.cases if not case.passed for words in complaints(case)]
    if report.comparison is not None and (words := baseline_complaints(report)):
        said.append((report.comparison.outcome, "baseline", "\n".join(words)))
    return [
        _command(
            level="warning" if allow_no_evidence and outcome is Outcome.NO_EVIDENCE else "error",
            title=f"{report.name}: {name}",
            text=text,
            place=places.get(name, ("", None)),
        )
        for outcome, name, text in said
    ]


def _command(*, title: str, text: str, place: tuple[str, int | None], level: str) -> str:
    file, line = place
    properties = {"file": file, "line": "" if line is None else str(line + 1), "title": title}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {given}::{_data(text)}"


def add_summary(text: str, environ: Mapping[str, str]) -> bool:
    """Append Markdown to the summary of the job; return False outside of a job."""
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return False
    with Path(path).open("ab") as file:
        file.write(_within(text.encode("utf-8", "replace"), _MOST_BYTES - file.tell()))
    return True


def _within(text: bytes, room: int) -> bytes:
    """Return the first whole lines that fit, since GitHub does not show a longer summary."""
    if len(text) <= room:
        return text
    kept = text[: max(room - len(_CUT), 0)]
    return kept[: kept.rfind(b"\n") + 1] + _CUT if room >= len(_CUT) else b""


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
