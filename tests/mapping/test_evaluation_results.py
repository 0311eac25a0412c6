"""Evaluation results that an app records become scores of their trace."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView, LogView, MappingOptions
from pandaprobe_otel.mapping.evaluation_results import NAME, evaluation_scores
from pandaprobe_otel.mapping.ids import trace_uuid
from views import TRACE_ID, view


def result(**attributes: Any) -> EventView:
    """Return an evaluation event of the conventions, from attributes without their common prefix."""
    return EventView(NAME, None, {f"gen_ai.evaluation.{key.replace('__', '.')}": v for key, v in attributes.items()})


def scores(*events: EventView, **options: Any) -> list[dict[str, Any]]:
    """Return the scores in a span's events."""
    return evaluation_scores([view("chat", events=events)], (), MappingOptions(**options))


def test_a_result_is_a_score_of_its_trace() -> None:
    """A result in a span event or in a log record becomes a score."""
    event = result(name="relevance", score__value=0.75, score__label="good", explanation="on topic")
    expected = {
        "trace_id": trace_uuid(TRACE_ID),
        "name": "relevance",
        "value": "0.75",
        "data_type": "NUMERIC",
        "source": "PROGRAMMATIC",
        "reason": "on topic",
    }
    assert scores(event) == [expected]
    assert evaluation_scores([], [LogView(TRACE_ID, 1, event)], MappingOptions()) == [expected]


@pytest.mark.parametrize(
    ("attributes", "value", "data_type"),
    [
        ({"score__value": 1}, "1", "NUMERIC"),
        ({"score__value": 4.5, "score__label": "good"}, "good", "CATEGORICAL"),
        ({"score__value": 4.5}, "4.5", "CATEGORICAL"),
        ({"score__label": "pass"}, "pass", "CATEGORICAL"),
    ],
)
def test_a_score_outside_zero_to_one_is_a_label(attributes: dict[str, Any], value: str, data_type: str) -> None:
    """A value outside of 0 to 1, which the server refuses as a number, becomes a label."""
    (score,) = scores(result(name="n", **attributes))
    assert (score["value"], score["data_type"]) == (value, data_type)


@pytest.mark.parametrize(
    "event",
    [
        result(score__value=0.5),
        result(name="n"),
        result(name="n", score__value=float("nan")),
        result(name="\x00", score__value=1),
        EventView("gen_ai.choice", None, {"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.value": 1}),
    ],
)
def test_an_event_without_name_or_value_is_no_score(event: EventView) -> None:
    """An event without a name or a value makes no score."""
    assert scores(event) == []


def test_scores_are_safe_private_and_short() -> None:
    """Scores are cleaned, masked and shortened like other content."""
    event = result(name="n\x00" * 300, score__label="secret", explanation="secret \ud800")
    (score,) = scores(event, masks=(lambda text: text.replace("secret", "[masked]"),))
    assert (score["value"], score["reason"]) == ("[masked]", "[masked] \ufffd")
    assert len(score["name"]) == 255
    assert "reason" not in scores(event, capture="metadata")[0]
