"""Log lines about causes of trouble, and the memory of what was logged."""

from __future__ import annotations

from collections import Counter

import pytest

from pandaprobe_otel.delivery.notices import MOST_CAUSES, REPEAT_AFTER_S, Notices


def test_a_cause_that_lasts_is_named_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """A lasting cause is logged once an hour, however often it occurs."""
    now = 0.0
    notices = Notices(lambda: now)
    for _ in range(3):
        notices.say("outage", "away")
    now = REPEAT_AFTER_S
    notices.say("outage", "away")

    assert [record.message for record in caplog.records] == ["away", "away"]


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
