"""Times as text are independent of the times written before."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping.times import rfc3339, start_and_end

SECOND = 1_000_000_000
END = 253_402_300_800 * SECOND


def test_times_are_written_with_microseconds() -> None:
    """Times are written with microseconds; a time after the year 9999 becomes the last possible one."""
    written = {
        0: "1970-01-01T00:00:00.000000Z",
        1_700_000_000 * SECOND + 999_999_999: "2023-11-14T22:13:20.999999Z",
        1_700_000_001 * SECOND: "2023-11-14T22:13:21.000000Z",
        1_700_000_000 * SECOND + 1_999: "2023-11-14T22:13:20.000001Z",
        -1: "1970-01-01T00:00:00.000000Z",
        END - 1: "9999-12-31T23:59:59.999999Z",
        END: "9999-12-31T23:59:59.999999Z",
        1 << 70: "9999-12-31T23:59:59.999999Z",
    }
    assert {ns: rfc3339(ns) for ns in (*written, *reversed(written))} == written


@given(st.lists(st.integers(0, END - 1).flatmap(lambda ns: st.sampled_from((ns, ns // SECOND * SECOND))), max_size=6))
def test_times_are_those_of_the_standard_library(times: list[int]) -> None:
    """Times in any order equal those of the standard library."""
    for ns in times:
        whole, rest = divmod(ns, SECOND)
        expected = datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)
        assert datetime.fromisoformat(rfc3339(ns)) == expected


@given(st.integers(-SECOND, END + SECOND), st.integers(0, 2 * SECOND), st.integers(-2 * SECOND, 2 * SECOND))
def test_start_and_end_are_written_as_each_is_by_itself(start: int, lasts: int, before: int) -> None:
    """Start and end are written correctly, within the same second or not."""
    expected = rfc3339(start), rfc3339(start + lasts)
    rfc3339(start + before)
    assert start_and_end(start, start + lasts) == expected
