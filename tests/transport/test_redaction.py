"""Removal of the key from outcomes, in any form and place."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from string import ascii_letters, digits
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.transport.outcome import (
    SHOWN,
    Answer,
    NoAnswer,
    Outcome,
    Redaction,
    Request,
    bearer_headers,
    judge,
)
from raw_answers import Send, answering, by_asyncio, by_httpx, by_socket

KEY_CHARACTERS = ascii_letters + digits + "_-.+/=~!@%&"
"""Characters that no JSON escapes."""
KEY = "sk_pp_" + "0123456789abcdef" * 4

ECHOES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "URL": lambda key: quote(key, safe=""),
    "URL, all of it": lambda key: "".join(f"%{ord(each):02x}" for each in key),
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 after one": lambda key: b64encode(f"x{key}y".encode()).decode(),
    "base64 after two": lambda key: urlsafe_b64encode(f"x:{key}".encode()).decode(),
}


def gives_away(text: str, key: str) -> bool:
    """Return whether a text has a dozen characters of the key, as they are, in a URL or as base64."""
    texts = {text, unquote(text)}
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", text):
        for start in range(4):
            raw = word[start:].encode()
            texts.add(b64decode(raw[: len(raw) // 4 * 4], altchars=b"-_").decode("latin-1"))
    parts = {key[start : start + 12].lower() for start in range(len(key) - 11)}
    return any(part in each.lower() for each in texts for part in parts)


def shown_by(outcome: Outcome) -> str:
    """Return everything in an unsuccessful outcome that is logged or shown."""
    verdict = judge(outcome)
    shown = [verdict.message, *map(repr, verdict.errors)]
    if isinstance(outcome, Answer):
        shown += [outcome.body.decode("utf-8", "replace"), *map(repr, outcome.headers.items())]
    else:
        shown.append(outcome.reason)
    return "\n".join(shown)


@given(
    key=st.text(KEY_CHARACTERS, min_size=24, max_size=80),
    echo=st.sampled_from(sorted(ECHOES)),
    status=st.sampled_from([200, 307, 401, 422, 429, 500]),
    place=st.sampled_from(["text", "detail", "field", "page", "header", "reason"]),
    around=st.text(max_size=20),
)
def test_no_form_of_the_key_comes_back(key: str, echo: str, status: int, place: str, around: str) -> None:
    """No key remains, plain, in a URL or as base64, in a body of any shape, a header, or a failure's reason."""
    words = f"{around.encode('ascii', 'ignore').decode()} {ECHOES[echo](key)} is not valid"
    bodies = {
        "text": "refused: " + words,
        "detail": json.dumps({"detail": words}),
        "field": json.dumps({"errors": [{"field": words, "message": words}]}),
        "page": f"<html><title>{words}</title><p>{words}",
    }
    if place == "reason":
        outcome: Outcome = NoAnswer(reason=words, may_have_arrived=True)
    elif place == "header":
        outcome = Answer(status=max(status, 300), headers={"location": f"https://x/?{words}"})
    else:
        page = place == "page"
        outcome = Answer(status=status if page else max(status, 300), body=bodies[place].encode())
    redaction = Redaction()
    redaction.learn({"X-API-Key": key, "X-Project-Name": "shop"})

    assert not gives_away(shown_by(redaction.applied_to(outcome)), key)


@pytest.mark.parametrize("key", [KEY, "%" * 60 + "x"])
def test_the_search_for_a_key_takes_no_longer_where_much_is_like_it(key: str) -> None:
    """The search is fast even in 128 KB that resemble the beginning of a key."""
    redaction = Redaction()
    redaction.learn({"X-API-Key": key})
    for part in (key[:-1], "%25", "%"):
        begun = time.process_time()
        redaction.applied_to(Answer(status=500, body=part.encode() * ((128 << 10) // len(part))))
        assert time.process_time() - begun < 3


def test_a_success_stays_as_it_is() -> None:
    """A successful answer is unchanged, since it is data of the app."""
    redaction = Redaction()
    redaction.learn({"X-API-Key": KEY})
    shown = Answer(status=200, body=json.dumps({"input": KEY}).encode())

    assert redaction.applied_to(shown) is shown


def test_a_key_that_was_replaced_is_known_for_the_answers_that_are_still_to_come() -> None:
    """A replaced key is still removed from answers that arrive later."""
    redaction = Redaction()
    redaction.learn({"X-API-Key": KEY})
    redaction.learn(bearer_headers("another-token-of-the-app"))
    shown = redaction.applied_to(NoAnswer(reason=f"{KEY} another-token-of-the-app", may_have_arrived=False))

    assert shown == NoAnswer(reason=f"{SHOWN} {SHOWN}", may_have_arrived=False)


@pytest.mark.parametrize("send", [by_socket, by_httpx, by_asyncio])
@pytest.mark.parametrize(
    "raw",
    [
        f"HTTP/1.1 401 No\r\nLocation: /{KEY}\r\nContent-Length: {len(KEY)}\r\n\r\n{KEY}",
        f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\n\r\n",
        f"{KEY}\r\n\r\n",
        f"HTTP/1.1 {KEY}\r\n\r\n",
        f"HTTP/1.1 401 No\r\n{KEY}\r\n\r\n",
        f"HTTP/1.1 401 No\r\nContent-Length: {KEY}\r\n\r\n",
        f"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n",
    ],
    ids=["body and header", "reason phrase", "no HTTP", "status", "header", "length", "chunk"],
)
def test_every_transport_keeps_the_key_to_itself(send: Send, raw: str) -> None:
    """No transport shows the key, even if a library quotes an invalid answer."""
    with answering(raw.encode()) as url:
        outcome = send(url, Request(method="POST", path="/traces", body=b"{}", timeout_s=20.0), key=KEY)

    assert not gives_away(shown_by(outcome) + repr(outcome), KEY)
