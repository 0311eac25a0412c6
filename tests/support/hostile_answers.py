"""Answers that no server should give, for property tests: absurd dates, huge numbers, bodies of any shape."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome

_NUMBERS = (
    st.sampled_from(["inf", "-inf", "nan", "1_0", "", " ", "0x10", "9" * 5000, "0" * 5000])
    | st.from_regex(r"-?\d{1,400}(\.\d{1,9})?(e-?\d{1,3})?", fullmatch=True)
    | st.floats().map(str)
)
_DATES = st.from_regex(
    r"(Mon|Fri|x), -?\d{1,2} (Jan|Nov|x) -?(20\d\d|\d{1,20}) -?\d\d:\d\d:\d{1,12} (GMT|EST|Z|[+-]\d{1,20})?",
    fullmatch=True,
)
_VALUES = st.one_of(_NUMBERS, _DATES, st.text(max_size=30))
_NAMES = ("retry-after", "date", "ratelimit", "ratelimit-reset", "x-ratelimit-reset", "location", "content-type")
headers = st.dictionaries(
    st.sampled_from(_NAMES), st.one_of(_VALUES, _NUMBERS.map('"default";r=0;t={}'.format)), max_size=len(_NAMES)
)

_ODD_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("\ud800\x00\n\x1b[31m")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    ["name", "spans -> 0 -> name", "spans -> 99 -> x", "spans -> ٣", "spans", f"spans -> {'9' * 5000}"]
)
_ROWS = st.lists(st.one_of(_ODD_VALUES, st.fixed_dictionaries({"field": st.one_of(_FIELDS, _ODD_VALUES)})), max_size=3)
_SPANS = st.lists(st.one_of(_ODD_VALUES, st.fixed_dictionaries({"span_id": _ODD_VALUES})), max_size=3)
_OBJECTS = st.fixed_dictionaries(
    {}, optional={"error": _ODD_VALUES, "detail": _ODD_VALUES, "errors": _ROWS, "spans": st.one_of(_SPANS, _ODD_VALUES)}
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"error":' * 900 + b"1" + b"}" * 900,
            b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"errors":[{"field":' + b"[" * 900 + b"]" * 900 + b"}]}",
            b'{"error":' + b"9" * 5000 + b"}",
            b"<!DOCTYPE html><html><title>502\nBad Gateway</title>" + b"<p>x" * 10_000,
            "{'error': 'no'}".encode("utf-16"),
        ]
    ),
    _OBJECTS.map(lambda value: json.dumps(value).encode()),
    _ODD_VALUES.map(lambda value: json.dumps(value).encode()),
)

pages = st.builds(
    lambda begins, text, times, ends: (begins + text * times + ends).encode("utf-8", "surrogatepass"),
    st.sampled_from(
        ["", "<", "<html><title>", "<html><style>", "<!DOCTYPE html><html><p class='", "<?xml version='1.0'?>"]
    )
    | st.sampled_from(['{"detail":"', '{"error":"', '{"errors":[{"field":"name","message":"', "[", '"']),
    st.text(max_size=12) | st.sampled_from(["\n", "<p>", "</", "x y\r\n", "\x1b[31m", "\\n", "\ud800", "٣"]),
    st.integers(0, 3) | st.sampled_from([300, 20_000]),
    st.sampled_from(["", "</title></html>", '"}', '"}]}', "]"]),
)
"""Bodies of any length, of a web page or of an error."""

_STATUSES = (200, 202, 204, 299, 300, 307, 400, 401, 404, 408, 413, 418, 422, 429, 499, 500, 502, 503, 504, 599, 999)
answers = st.builds(
    lambda status, body, headers: Answer(status=status, body=body, headers=headers),
    st.sampled_from(_STATUSES),
    bodies,
    headers,
)
error_pages = st.builds(lambda status, body: Answer(status=status, body=body), st.sampled_from(_STATUSES), pages)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    answers, st.builds(lambda arrived: NoAnswer(reason="reset", may_have_arrived=arrived), st.booleans())
)
