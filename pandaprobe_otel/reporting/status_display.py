"""The delivery status as HTML for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.reporting.markup import folded, line, output, table, text

if TYPE_CHECKING:
    from pandaprobe_otel.reporting.delivery_status import Status


def status_html(status: Status) -> str:
    """Return the counts and problems, with the settings and the libraries folded."""
    where = f"project {status.project_name!r} at {status.endpoint}" if status.enabled else "not sending"
    counts = {
        "spans ended": status.spans_ended,
        "delivered": status.spans_delivered,
        "waiting": status.spans_pending,
        **{f"dropped: {reason}": count for reason, count in status.spans_dropped.items() if count},
        "traces delivered": status.traces_delivered,
        **{f"scores dropped: {reason}": count for reason, count in status.scores_dropped.items()},
    }
    problems = [line(text(f"problem: {problem}", "bad")) for problem in status.problems]
    if status.last_error is not None:
        problems.append(line(text(f"last error: {status.last_error}", "bad")))
    settings = [[text(name), text(value), text(source, "dim")] for name, (value, source) in status.settings.items()]
    libraries = [[text(name), text(state)] for name, state in status.instrumented.items()]
    return output(
        text(f"PandaProbe: {where}"),
        table(["count of", "number"], [[text(name), text(f"{count:,}")] for name, count in counts.items()]),
        *problems,
        *([folded(text("libraries"), table(["library", "state"], libraries))] if libraries else []),
        *([folded(text("settings"), table(["setting", "value", "from"], settings))] if settings else []),
    )
