"""Templates of messages, without the values that change from run to run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.failures.template import MAX_LENGTH, split_type, template_of

TEMPLATES = {
    "order 7431 not found": "order <value> not found",
    "order A-17 not found": "order <value> not found",
    "no user mira@shop.example at https://shop.example/u/17?x=1": "no user <email> at <url>",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301 is gone": "<value> is gone",
    "since 2026-11-28T11:00:03.5Z, or 28 Nov 2026, or 11:30": "since <date>, or <date>, or <date>",
    "10.0.0.17:8080 refused": "<ip> refused",
    "<Order object at 0x7f3a2b>": "<Order object at <value>>",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709 differs": "<value> differs",
    "timed out after 8.0 s": "timed out after <duration>",
    "timed out after 1m 30s": "timed out after <duration>",
    "cannot open /srv/shop/orders/x.json": "cannot open <path>",
    "input/output error": "input/output error",
    "unexpected key 'amount'": "unexpected key 'amount'",
    "unexpected key 'order 17'": "unexpected key '<text>'",
    "can't read the user's order": "can't read the user's order",
    "values 1, 2 and 3": "values <value>",
    "first\nsecond": "first",
    "": "",
    'Error code: 429 - {"error": {"message": "Limit 30000 in org-aBc1", "type": "tokens", "code": "rate_limit"}}': (
        "Error code: <value>: rate_limit: Limit <value> in <value>"
    ),
    "Error code: 400 - {'error': {'message': 'No.', 'param': 'x', 'code': None}}": "Error code: <value>: No.",
    '{"error": "overloaded"}': ": overloaded",
    "no {braces here": "no {braces here",
}


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_message_without_what_changes(text: str) -> None:
    """Each changing value is replaced by the marker of its kind; words and quoted names stay."""
    assert template_of(text) == TEMPLATES[text]
    assert template_of("gpt-nano is busy", known=["gpt-nano", None, ""]) == "<value> is busy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LookupError: no order", ("LookupError", "no order")),
        ("openai.RateLimitError: Error code", ("RateLimitError", "Error code")),
        ("TimeoutError", ("TimeoutError", "")),
        ("Error code: 429", (None, "Error code: 429")),
        ("no order: 17", (None, "no order: 17")),
    ],
)
def test_the_type_that_a_text_begins_with(text: str, expected: tuple[str | None, str]) -> None:
    """A text is split into the exception's name, without its module, and the message."""
    assert split_type(text) == expected


@given(st.text(max_size=3000) | st.text("ab 1.:-/'\"{}@_", max_size=3000))
def test_any_text_has_a_short_template(text: str) -> None:
    """The template of any text is one line of at most 160 characters."""
    made = template_of(text)
    assert len(made) <= MAX_LENGTH
    assert "\n" not in made


VALUES = {
    "value": st.one_of(
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.uuids().map(str),
        st.uuids().map(lambda one: one.hex),
        st.integers(0, 2**64).map(hex),
        st.integers(0).map(lambda one: f"{one:,}"),
        st.from_regex(r"[A-Za-z]{1,8}[-_][0-9]{1,9}", fullmatch=True),
        st.from_regex(r"(org|call|run)_[A-Za-z]{1,20}[0-9][A-Za-z0-9]{0,20}", fullmatch=True),
    ),
    "date": st.one_of(st.datetimes().map(str), st.dates().map(str), st.times().map(lambda one: f"{one:%H:%M:%S}")),
    "email": st.from_regex(r"[a-z]{1,9}(\.[a-z0-9]{1,9})?@[a-z]{1,9}\.(com|example)", fullmatch=True),
    "url": st.from_regex(r"https?://[a-z]{1,9}\.example/[a-z0-9/?=&_-]{0,30}", fullmatch=True),
    "ip": st.ip_addresses(v=4).map(str),
    "path": st.from_regex(r"(/[a-z0-9_]{1,9}){2,5}\.(py|json)", fullmatch=True),
    "duration": st.from_regex(r"[1-9][0-9]{0,4}(\.[0-9]{1,3})? ?(ms|s|min|hours)", fullmatch=True),
}


@pytest.mark.parametrize("kind", VALUES)
@given(st.data())
@settings(max_examples=20)
def test_every_value_of_a_kind_has_the_same_mark(kind: str, data: st.DataObject) -> None:
    """All values of a kind, such as ids and dates, give the same template."""
    value = data.draw(VALUES[kind])
    assert template_of(f"could not read {value} of the order") == f"could not read <{kind}> of the order"
    assert template_of(f"no order ({value}).") == f"no order (<{kind}>)."


@pytest.mark.parametrize("unit", ["a", "a-", "1.", "/a", '"', "a@", "{", "https://", "1 s "])
def test_no_text_takes_long(unit: str) -> None:
    """A text of a million repeated pieces gives a short template, since only the beginning of a line is read."""
    assert len(template_of(unit * 1_000_000)) <= MAX_LENGTH
