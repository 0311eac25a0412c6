"""Interactions of a cassette, from the data of the hooks: decompressed and without secrets."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.decoding import UnreadableError, decompress
from pandaprobe_otel.replay.exchange import Exchange
from pandaprobe_otel.replay.interactions import Interaction, RecordedAnswer, RecordedRequest
from pandaprobe_otel.replay.scrubbing import Scrubber

_RETRIED: Final = frozenset({408, 409, 425, 429})
_AT_ONCE: Final = {"retry-after-ms": "1", "retry-after": "0", "x-amz-retry-after": "1"}
"""Headers that tell clients how long to wait, in the order in which clients prefer them. Playback sets these short
waits.
"""


def plain_request(sent: RecordedRequest) -> RecordedRequest:
    """Return a request without compression. Raises RecordingError if its encoding cannot be read."""
    encoding = sent.headers.get("content-encoding", "")
    if not encoding or not sent.body:
        return sent
    try:
        body, _ = decompress(sent.body, encoding)
    except UnreadableError as error:
        raise RecordingError(f"A request to {sent.uri.partition('?')[0]} cannot be recorded: {error}.") from error
    return replace(sent, body=body, headers={k: v for k, v in sent.headers.items() if k != "content-encoding"})


def interaction_of(exchange: Exchange, scrubber: Scrubber) -> Interaction:
    """Return the interaction for an exchange. Raises RecordingError.

    An answer that cannot be decompressed cannot be scrubbed, so it is not saved.
    """
    body = b"".join(exchange.pieces)
    chunks = tuple(zip(exchange.times, map(len, exchange.pieces), strict=True))
    headers = {name: value for name, value in exchange.headers.items() if name != "content-length"}
    encoding = headers.pop("content-encoding", "")
    if encoding and not exchange.is_plain and body:
        try:
            body, chunks = decompress(body, encoding, chunks)
        except UnreadableError as error:
            raise RecordingError(f"The answer of call {exchange.number} cannot be saved: {error}.") from error
    answer = RecordedAnswer(
        status=exchange.status,
        reason=exchange.reason,
        headers=headers,
        body=body,
        chunks=chunks,
        end=exchange.end or "left",
        error=exchange.error,
    )
    request = scrubber.request(plain_request(exchange.request))
    return Interaction(exchange.number, request, scrubber.answer(answer), at=exchange.at, after=exchange.after)


def without_waiting(interaction: Interaction) -> Interaction:
    """Return the answer to play back, changed so that clients retry without waiting."""
    answer = interaction.answer
    if answer.status < 500 and answer.status not in _RETRIED:
        return interaction
    return replace(interaction, answer=replace(answer, headers={**answer.headers, **_AT_ONCE}))
