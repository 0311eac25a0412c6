"""`score()`: the values it accepts, the body it sends, and the errors it raises."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel import score
from pandaprobe_otel.capture.scores import score_body
from pandaprobe_otel.errors import InvalidRequest
from subprocesses import environment, run_python

TRACE = "18f151b4-deac-4eb0-8f06-ac7b20a519de"


@pytest.mark.parametrize(
    ("value", "data_type", "text", "kind"),
    [
        (0.9, None, "0.9", "NUMERIC"),
        (1, None, "1", "NUMERIC"),
        (True, None, "true", "BOOLEAN"),
        ("helpful", None, "helpful", "CATEGORICAL"),
        ("0.5", "NUMERIC", "0.5", "NUMERIC"),
        ("False", "BOOLEAN", "false", "BOOLEAN"),
    ],
)
def test_the_value_decides_the_type_and_goes_as_text(
    value: float | bool | str, data_type: str | None, text: str, kind: str
) -> None:
    """Numbers and booleans are sent as text, which is all the server accepts, with the data type they imply."""
    body = score_body(TRACE, "quality", value, data_type=data_type, reason="why", metadata={"a": 1})

    assert body == {
        "trace_id": TRACE,
        "name": "quality",
        "value": text,
        "data_type": kind,
        "source": "PROGRAMMATIC",
        "reason": "why",
        "metadata": {"a": 1},
    }


@pytest.mark.parametrize(
    ("trace_id", "name", "value", "data_type", "field"),
    [
        ("nonsense", "n", 0.5, None, "trace_id"),
        (TRACE, "", 0.5, None, "name"),
        (TRACE, "n" * 256, 0.5, None, "name"),
        *((TRACE, "n", value, None, "value") for value in (1.01, float("nan"), 10**400, None, [0.5], "x" * 256)),
        (TRACE, "n", 0.5, "FLOAT", "data_type"),
        (TRACE, "n", "maybe", "BOOLEAN", "value"),
        (TRACE, "n", "much", "NUMERIC", "value"),
    ],
)
def test_an_invalid_score_is_refused_at_the_call(
    trace_id: str, name: str, value: Any, data_type: Any, field: str
) -> None:
    """An invalid score raises an error that names the field, before anything is sent."""
    with pytest.raises(InvalidRequest) as caught:
        score(trace_id, name, value, data_type=data_type)

    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize("variables", [{}, {"PANDAPROBE_ENABLED": "false"}])
def test_an_app_that_is_not_traced_scores_no_trace_in_peace(variables: dict[str, str]) -> None:
    """`score()` without a key does nothing with a trace id of None, but still raises for an invalid value."""
    code = """
    import pandaprobe_otel

    @pandaprobe_otel.agent
    def refund(order):
        return pandaprobe_otel.current_trace_id()

    pandaprobe_otel.score(refund("before"), "helpful", True)
    handle = pandaprobe_otel.init()
    pandaprobe_otel.score(refund("A-17"), "helpful", True)
    handle.score(refund("A-17"), "helpful", 0.9)
    try:
        pandaprobe_otel.score(refund("A-17"), "helpful", 7)
    except pandaprobe_otel.PandaProbeError as error:
        print(error)
    """
    result = run_python(code, environment(**variables), set_up=False)

    assert (result.returncode, result.stdout) == (0, "score: value 7.0 is not between 0 and 1\n"), result.stderr


def test_a_score_of_no_trace_is_logged_and_counted() -> None:
    """A score outside of a trace is logged once for each name, and counted in `status()`."""
    code = """
    import pandaprobe_otel as pp
    handle = pp.init(instrument=False)
    for _ in range(3):
        pp.score(pp.current_trace_id(), "helpful", True)
    handle.score(None, "polite", 0.5)
    print(*pp.status().problems, sep="\\n")
    assert handle.flush(5)
    """
    result = run_python(code, environment("http://127.0.0.1:9"), set_up=False)

    why = "is not sent: its trace id is None, as current_trace_id() is outside of a trace."
    why = f"{why} Call it inside the trace, and keep the id."
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == [
        f"pandaprobe-otel: the score 'helpful' {why}",
        f"pandaprobe-otel: the score 'polite' {why}",
    ]
    assert result.stdout.splitlines() == [f"the score 'helpful' {why} (3 times)", f"the score 'polite' {why}"]
