"""The estimate of tokens."""

from __future__ import annotations

import random
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.compact.fences import Fence
from pandaprobe_otel.compact.overview import overview
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.value_text import clipped, fitting
from planted_traces import trace_of
from vocabularies import most_tokens

RANDOM = random.Random(3)
TEXTS = {
    "sentence": "The quick brown fox jumps over the lazy dog, internationalization included. " * 9,
    "json": '{"order_id":"88123","amount":"129,00","currency":"EUR","note":null,"lines":[1,2.5,-3e7]}' * 9,
    "error": 'Traceback:\n  File "tools/refund.py", line 41, in refund_order\n    cents = round(float(a))\n' * 9,
    "ids": "2026-05-04T12:00:00.123456+00:00 9f5cf175-44c7-bf25-c506-3f723395ab95 1234567 3.14159265 " * 9,
    "hashes": " ".join(f"{RANDOM.getrandbits(128):032x}" for _ in range(20)),
    "base64": b64encode(RANDOM.randbytes(900)).decode(),
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈😀🎉✂️☀️" * 20,
    "chinese": "请帮我退款，搅拌机坏了。" * 20,
    "german": "Bitte erstatten Sie die Überweisung zurück, Geschäftsführung Straßenverkehrsamt " * 9,
    "hindi": "कृपया ऑर्डर के लिए पैसे वापस करें " * 9,
    "thai": "กรุณาคืนเงินสำหรับคำสั่งซื้อ " * 9,
    "source": Path(__file__).read_text(encoding="utf-8"),
    "overview": overview(trace_of(200, failing={3, 77}), 2000, Fence("7f3a91c2")).text,
}


@pytest.mark.outer
def test_the_estimate_is_no_less_than_what_vocabularies_make() -> None:
    """The estimate is at least the number of tokens in any of three vocabularies, and at most six times as many."""
    for name, text in TEXTS.items():
        count = most_tokens(text)
        assert count <= tokens_in(text) <= 6 * count, name


@given(st.text(max_size=400), st.integers(1, 200))
@settings(max_examples=40)
def test_a_clipped_text_fits(text: str, tokens: int) -> None:
    """A clipped text keeps its beginning and end, gives the number of omitted characters, and fits its limit."""
    short = clipped(text, tokens)

    if short == text:
        assert tokens_in(text) <= tokens
        return
    begin, count, end = short.rpartition("…")[0].rpartition("…+")[0], short.rpartition("…+")[2].partition("…")[0], ""
    end = short[len(begin) + len(f"…+{count}…") :]
    assert text.startswith(begin)
    assert text.endswith(end)
    assert len(begin) + int(count) + len(end) == len(text)
    assert tokens_in(short) <= max(tokens, 14)


@given(st.text(min_size=1, max_size=400), st.integers(1, 200))
@settings(max_examples=40)
def test_a_fitting_beginning_fits(text: str, tokens: int) -> None:
    """The fitting beginning of a text takes no more than the allowed tokens."""
    assert tokens_in(text[: fitting(text, tokens)]) <= tokens
