"""Log lines about causes of trouble, and the memory of what was logged."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest

from pandaprobe_otel.delivery.notices import _ERROR_LINES, _LINES, IN_SPOOL, MOST_CAUSES, REPEAT_AFTER_S, Notices
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans


def test_a_cause_that_lasts_is_named_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """A lasting cause is logged once an hour, however often it occurs."""
    now = 0.0
    notices = Notices(lambda: now)
    for _ in range(3):
        notices.say("outage", "away")
    now = REPEAT_AFTER_S
    notices.say("outage", "away")

    assert [record.message for record in caplog.records] == ["away", "away"]


def test_each_outage_and_each_recovery_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Lines alternate, name the URL and promise no more than holds, at most every ten seconds."""
    caplog.set_level(logging.INFO)
    now = 0.0
    notices = Notices(lambda: now, endpoint="http://panda.example")
    for now in (0.0, 20.0, 21.0, 40.0):
        notices.report("outage", words="refused")
        now += 0.5
        notices.over("outage")

    outage = (
        "PandaProbe cannot be reached at http://panda.example (refused). Traces wait in memory until the process ends; "
        "set PANDAPROBE_SPOOL_DIR to keep them."
    )
    recovery = "PandaProbe answers again at http://panda.example. Waiting traces are sent."
    assert [record.message for record in caplog.records] == [outage, recovery] * 3


@pytest.mark.parametrize("line", sorted(_LINES | _ERROR_LINES))
def test_no_line_promises_later_sending_from_memory(line: str, caplog: pytest.LogCaptureFixture) -> None:
    """Traces in memory are lost with the process, so only those in a spool are promised to be sent."""
    request = OutgoingRequest(step=Step.CREATE, trace_id="1", spans=EncodedSpans.of((b"{}",)), name="answer")
    facts: dict[str, Any] = {"words": "no", "error": "E", "request": request, "size": 1, "cap": 1}
    facts |= {"after_s": 1.0, "spans": 1, "project": "shop"}
    Notices(lambda: 0.0).report(line, **facts)
    in_memory = caplog.text
    caplog.clear()
    Notices(lambda: 0.0, waiting=IN_SPOOL).report(line, **facts)

    assert "sent later" not in in_memory
    assert ("sent later" in caplog.text) == ("wait in memory" in in_memory)


def test_a_server_that_says_something_else_each_time_fills_neither_memory_nor_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Beyond a number of causes, each further kind of cause is logged once; an outage is still logged."""
    notices = Notices(lambda: 0.0)
    for number in range(10 * MOST_CAUSES):
        notices.say(f"refused: {number}", "refused")
        notices.say(f"repaired: {number}", "repaired")
    notices.say("outage", "away")

    said = Counter(record.message for record in caplog.records)
    assert said["refused"] + said["repaired"] == MOST_CAUSES + 2
    assert said["away"] == 1
    assert notices.causes == MOST_CAUSES + 3


def test_causes_of_long_ago_make_room_for_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    """A cause is forgotten once it may be logged again."""
    now = 0.0
    notices = Notices(lambda: now)
    for number in range(MOST_CAUSES):
        notices.say(f"refused: {number}", "then")
    now = REPEAT_AFTER_S
    for number in range(MOST_CAUSES):
        notices.say(f"refused: again {number}", "now")

    assert Counter(record.message for record in caplog.records) == {"then": MOST_CAUSES, "now": MOST_CAUSES}
    assert notices.causes == MOST_CAUSES
