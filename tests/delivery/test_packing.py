"""Requests that are compressed while many wait, and are sent with the same content as before."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.delivery.outbox import PACK_ABOVE, Outbox
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step, pack, unpack
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

TEXT = b"Agents call models and tools, and their traces wait for their turn. "


def request(number: int, *, kilobytes: int = 20, step: Step = Step.CREATE) -> OutgoingRequest:
    """Return a request of two spans."""
    span = b'{"span_id":"%d","output":"%b"}' % (number, TEXT * (kilobytes * 1024 // len(TEXT) // 2))
    return OutgoingRequest(
        step=step, trace_id=f"t{number}", fields=b'{"name":"n"}', spans=EncodedSpans.of((span, span)), name="n"
    )


@given(fields=st.binary(max_size=2000), spans=st.lists(st.binary(max_size=300), max_size=5))
def test_packing_changes_no_body(fields: bytes, spans: list[bytes]) -> None:
    """Any body is the same after packing and unpacking."""
    encoded = EncodedSpans.of(spans)
    assert unpack(pack(fields, encoded)) == (fields, encoded)


@pytest.mark.parametrize("step", list(Step))
def test_a_closed_request_opens_to_the_same_body(step: Step) -> None:
    """A packed request has the same body as before once it is opened."""
    whole = request(1, step=step)
    closed = whole.closed()

    assert closed.packed
    assert closed.span_count == whole.span_count == 2
    assert closed.size < whole.size / 5
    assert closed.opened() == whole
    assert closed.opened().body() == whole.body()


def test_small_requests_stay_as_they_are() -> None:
    """Small requests are not packed, since it would gain nothing."""
    small = OutgoingRequest(step=Step.FINISH, trace_id="t", fields=b'{"status":"COMPLETED"}')

    assert small.closed() is small
    assert small.opened() is small


def test_only_what_comes_on_top_of_much_is_packed_and_its_packed_size_counts() -> None:
    """Requests are packed if those that wait exceed `PACK_ABOVE` bytes, and the memory bound counts packed sizes.

    New requests are packed, and as many of the earlier ones as needed.
    """
    outbox = Outbox(PACK_ABOVE + (1 << 20))
    number = 0
    while outbox.bytes <= PACK_ABOVE:
        number += 1
        assert outbox.put(request(number), 0.0) == []
    unpacked = number
    while number < 1000:
        number += 1
        assert outbox.put(request(number), 0.0) == []
    packed = [job for job in outbox if job.request.packed]

    assert len(outbox) == 1000
    assert 1000 - unpacked <= len(packed) < 1000
    assert outbox.bytes == sum(job.request.size for job in outbox)
    assert outbox.bytes <= PACK_ABOVE + request(0).size


def test_when_even_what_is_packed_is_much_everything_is() -> None:
    """With thousands of waiting requests, all but those under way are packed."""
    outbox = Outbox(1 << 30)
    content = random.Random(1)
    for number in range(700):
        text = content.randbytes(8_000).hex().encode()
        outbox.put(replace(request(number), fields=b'{"x":"%b"}' % text), 0.0)
        if number == 0:
            first = next(iter(outbox))
            outbox.start(first, 0.0)

    assert [job for job in outbox if not job.request.packed] == [first]


def test_a_job_is_opened_when_it_starts() -> None:
    """A job sends the same bytes, packed or not, and the byte count changes when it is opened."""
    outbox = Outbox(1 << 30)
    number = 0
    while not any(job.request.packed for job in outbox):
        number += 1
        outbox.put(request(number), 0.0)
    sent: dict[str, bytes] = {}
    while (job := outbox.schedule.next_create(0.0)) is not None:
        assert outbox.open(job, 0.0)
        outbox.start(job, 0.0)
        assert outbox.bytes == sum(other.request.size for other in outbox)
        sent[job.request.trace_id] = job.request.body()
        outbox.finish(job, 0.0)

    assert sent == {f"t{each}": request(each).body() for each in range(1, number + 1)}
    assert outbox.bytes == 0


def test_spans_without_a_root_are_adopted_whole_although_packed() -> None:
    """All jobs of an adopted trace are opened, not only the first."""
    outbox = Outbox(1 << 30)
    number = 0
    while outbox.bytes <= PACK_ABOVE:
        number += 1
        outbox.put(request(number), 0.0)
    orphan = OutgoingRequest(
        step=Step.APPEND,
        trace_id="00000000-0000-0000-0000-000000000001",
        is_remote=True,
        fields=b'{"trace_id":"00000000-0000-0000-0000-000000000001"}',
        spans=request(0).spans,
    )
    outbox.put(orphan, 0.0)
    outbox.put(orphan, 0.0)
    job = next(job for job in outbox if job.request.is_remote)
    outbox.adopt(job, "project", 0.0)
    adopted = [
        job.request.opened() for job in outbox if job.request.trace_id not in {f"t{n}" for n in range(number + 1)}
    ]

    assert [each.step for each in adopted] == [Step.CREATE, Step.APPEND]
    assert [each.spans for each in adopted] == [orphan.spans] * 2
    assert orphan.trace_id not in {each.trace_id for each in adopted}
    assert adopted[0].trace_id.encode() in adopted[0].fields
