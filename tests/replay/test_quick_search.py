"""The quick search for secrets, without which a body is not parsed, misses none that thorough scrubbing finds."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.scrubbing import Scrubber

PLANTED = "pl4nted-S3cret/Value+77"
SECRETS = (
    PLANTED, "sk-proj-abcdefghijklmnop", "sk_live_1234567890", "AKIAABCDEFGHIJKLMNOP", "AIza" + "a" * 30,
    "ya29." + "b" * 20, "ghp_" + "c" * 30, "github_pat_" + "d" * 20, "glpat-" + "e" * 16, "xoxb-1234567890",
    "hf_" + "f" * 30, "eyJabcdefgh.eyJabcdefgh.abcdefgh", "Bearer abcdefghijklmnop", "https://user:secret77@host/x",
    "https://ü:ö😺@host/x", "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", '{"password": "hunter2"}',
    '{"a": "b", "access_token"  :  "x"}', "a https:\\/\\/user:secret77@host/x",
)  # fmt: skip
AROUND = ("", " ", "\n", "\t", "word", "\\n", "ä", "\u203c", "😺", '"', ":", "sk-", "word " * 40)
NAMES = ("api_key", "password", "access_token", "max_tokens", "key", "next_token", "a password")
STYLES: tuple[dict[str, Any], ...] = (
    {"ensure_ascii": False, "separators": (",", ":")},
    {"ensure_ascii": True},
    {"ensure_ascii": False, "separators": (", ", " : ")},
    {"indent": 1},
)
around = st.sampled_from(AROUND)
places = st.integers(0, 3) | st.integers(0, 60)
cuts = st.lists(st.tuples(places, places), max_size=3)


class Thorough(Scrubber):
    """A scrubber that always scrubs the whole body."""

    def _has_work(self, body: bytes) -> bool:
        return True


def as_text(text: str) -> Any:
    """Return the text itself, as content of a message."""
    return text


def as_arguments(text: str) -> Any:
    """Return the text in JSON within a text, as arguments of a tool."""
    return json.dumps({"a": text})


def as_name(text: str) -> Any:
    """Return an object with a field of this name."""
    return {text: "hunter2"}


def bodies_of(secret: str, within: Any, cuts: list[tuple[int, int]], style: dict[str, Any]) -> list[bytes]:
    """Return requests with parts of a secret, then with the whole secret, then without its last character."""
    texts = [secret[: min(cut)] + secret[max(cut) :] for cut in cuts]
    texts += [secret, secret, secret[:-1]]
    values = ({"messages": ["Be brief. " * 100, within(text)], "model": "m" * 900} for text in texts)
    return [json.dumps(value, **style).replace("\\\\/", "\\/").encode() for value in values]


cases = st.tuples(around, st.sampled_from(SECRETS), around).map("".join)
requests = st.one_of(
    st.builds(bodies_of, cases, st.sampled_from([as_text, as_arguments]), cuts, st.sampled_from(STYLES)),
    st.builds(bodies_of, st.sampled_from(NAMES), st.just(as_name), cuts, st.sampled_from(STYLES)),
)


@settings(max_examples=100)
@given(requests, st.integers(0, 6), around)
def test_quick_and_thorough_scrubbing_agree(bodies: list[bytes], changes_at: int, mask: str) -> None:
    """A body in which a quick search finds nothing is the same after thorough scrubbing.

    This includes requests between which a secret is learned or a mask is set.
    """
    masked: list[Any] = [None]
    scrubber = Scrubber(environ={}, mask=lambda: masked[0])
    for number, body in enumerate(bodies):
        if number == changes_at:
            scrubber.learn([PLANTED])
            masked[0] = re.escape(mask) if mask in (" ", "word") else None
        known = {"A_KEY": PLANTED} if number >= changes_at else {}
        request = RecordedRequest("POST", "http://x/", {"content-type": "application/json"}, body)
        expected = Thorough(environ=known, mask=lambda: masked[0]).request(request).body
        assert Scrubber(environ=known, mask=lambda: masked[0]).request(request).body == expected
        assert scrubber.request(request).body == expected
