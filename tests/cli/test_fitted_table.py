"""Tables that fit 80 columns, plurals of numbers, and suggestions for mistyped commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.cli.fitted_table import cut_in_the_middle, fitted
from pandaprobe_otel.cli.plurals import counted
from pandaprobe_otel.cli.show import _COLUMNS

ID = "7a8008fe-8018-5a7f-7a53-f0eac657ad53"
CELLS = {
    "name": "shop_assistant", "status": "COMPLETED", "latency_ms": "93.25", "started_at": "2026-11-28 14:30:00Z",
    "total_tokens": "1234", "total_cost": "0.00123", "session_id": "customer-4711", "span_count": "21",
    "user_id": "user-7", "trace_id": ID,
}  # fmt: skip


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """Return an environment without any of our settings."""
    return clean_environment(tmp_path)


def test_a_list_of_traces_fits_80_columns() -> None:
    """At 80 columns, name, status, latency and the whole id stay, and less important columns are left out."""
    names, rows = fitted(_COLUMNS["TraceListItem"].split(), [CELLS], 80)

    assert names == ["name", "status", "latency_ms", "trace_id"]
    assert rows[0]["trace_id"] == ID


def test_a_wide_terminal_shows_all() -> None:
    """A wide terminal shows all columns uncut."""
    names, rows = fitted([*CELLS], [CELLS], 200)

    assert (names, rows) == ([*CELLS], [CELLS])


def test_a_narrow_terminal_cuts_the_id_in_its_middle() -> None:
    """A narrow terminal shows both ends of the id, and the other columns uncut."""
    names, rows = fitted([*CELLS], [CELLS], 60)

    assert names == ["name", "status", "latency_ms", "trace_id"]
    assert rows[0]["trace_id"] == cut_in_the_middle(ID, 21)
    assert sum(max(len(name), len(rows[0][name])) for name in names) + 2 * (len(names) - 1) == 60


def test_scores_keep_their_value() -> None:
    """A long reason does not displace the value of a score."""
    score = {"name": "task_completion", "value": "0.9", "status": "SUCCESS", "reason": "word " * 40, "source": "EVAL",
             "created_at": "2026-11-28 14:30:00Z", "id": ID, "trace_id": ID}  # fmt: skip
    names, rows = fitted(_COLUMNS["TraceScore"].split(), [score], 80)

    assert names == ["name", "value", "status", "trace_id"]
    assert rows[0]["trace_id"] == ID


@pytest.mark.parametrize(("most", "cut"), [(36, ID), (9, "7a80…ad53"), (10, "7a800…ad53")])
def test_the_middle_of_an_id_is_cut(most: int, cut: str) -> None:
    """A cut id has exactly the wanted length."""
    assert cut_in_the_middle(ID, most) == cut
    assert len(cut) == most


def test_numbers_have_their_plural() -> None:
    """A noun is singular for one, and plural for any other number."""
    assert [counted(number, "refused request") for number in (0, 1, 1000)] == [
        "0 refused requests",
        "1 refused request",
        "1,000 refused requests",
    ]


@pytest.mark.parametrize(
    ("typed", "meant"), [(("trace",), "'traces'"), (("traces", "lst"), "'traces list'"), (("evls",), "'evals'")]
)
def test_a_slip_gets_a_suggestion(typed: tuple[str, ...], meant: str, clean: dict[str, str]) -> None:
    """An unknown command ends with code 4 and a suggestion of the nearest command."""
    done = run_here(*typed, environment=clean)

    assert (done.returncode, f"Did you mean {meant}?" in done.stderr) == (4, True)


def test_an_unknown_word_gets_none(clean: dict[str, str]) -> None:
    """A word that is near no command gets no suggestion."""
    assert "Did you mean" not in run_here("xyzzy", environment=clean).stderr
