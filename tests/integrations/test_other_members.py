"""The members of a request or an answer that have no attribute: the recorded ones, and their form."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from pydantic import BaseModel

from pandaprobe_otel_integrations._logprobs import Logprobs, with_logprobs
from pandaprobe_otel_integrations._other_members import (
    PARAMETERS,
    RESPONSE,
    WITHHELD,
    beside,
    grown,
    parameters,
    rest,
    told,
    uncounted,
    with_rest,
)

NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "API-Key", "x-api-key", "authorization", "authorization_token", "user_access_token", "extra_headers",
        "headers", "client_secret", "aws_secret_access_key", "aws_session_token", "azure_ad_token", "password",
        "vertex_credentials", "apiKey",
    ],
)  # fmt: skip
def test_credentials_are_withheld_at_any_depth(name: str) -> None:
    """A credential's name is recorded, but not its value."""
    assert rest({"tools": [{name: "sk-1"}]}, NOTHING) == {"tools": [{name: WITHHELD}]}


@pytest.mark.parametrize(
    "name", ["token", "max_tokens", "token_budget", "prompt_tokens", "keyword", "header", "author"]
)
def test_other_names_are_no_credentials(name: str) -> None:
    """Names with "token" that count tokens of a text are not taken for credentials."""
    assert rest({name: "x"}, NOTHING) == {name: "x"}


def test_bytes_are_recorded_as_digests() -> None:
    """Bytes, a data URL, and base64 that is long enough to be recognised are recorded as digests."""
    data = bytes(range(256)) * 8
    encoded = base64.b64encode(data).decode()
    digest = hashlib.sha256(data).hexdigest()
    found: Any = told({"a": data, "b": f"data:image/png;base64,{encoded}", "c": [encoded]})
    assert [found["a"]["sha256"], found["b"]["sha256"], found["c"][0]["sha256"]] == [digest] * 3
    assert told("word " * 1000) == "word " * 1000


def test_encrypted_content_is_named_by_its_length() -> None:
    """Encrypted content is replaced by its length, since only the service can read it."""
    assert rest({"results": [{"encrypted_content": "x" * 9}]}, NOTHING) == {
        "results": [{"encrypted_content": "[9 characters that only the service can read]"}]
    }


def test_models_and_marks_of_client_libraries() -> None:
    """A pydantic class is recorded as its schema, an instance as its fields; a "not given" mark is left out."""

    class Found(BaseModel):
        """A pydantic answer."""

        city: str

    class NotGiven:
        """A client library's mark for an argument that was not given."""

    assert rest({"format": Found}, NOTHING)["format"]["properties"]["city"]["type"] == "string"
    assert rest(
        {"given": Found(city="Paris"), "none": NotGiven(), "inside": {"none": NotGiven(), "a": 1}}, NOTHING
    ) == {
        "given": {"city": "Paris"},
        "inside": {"a": 1},
    }
    assert rest({"type": int}, NOTHING) == {"type": "int"}


def test_an_unreadable_value_takes_no_other_with_it() -> None:
    """A value that raises or is nested too deeply is replaced by its type, and the other values are recorded."""

    class Broken(BaseModel):
        """A class whose schema cannot be made."""

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """Fail."""
            raise RuntimeError

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert rest({"a": Broken, "b": deep, "c": 1}, NOTHING) == {
        "a": "[ModelMetaclass that cannot be read]",
        "b": "[list that cannot be read]",
        "c": 1,
    }


def test_empty_members_are_left_out() -> None:
    """Empty members are left out, but not false and zero."""
    given: dict[str, Any] = {"a": None, "b": "", "c": [], "d": {}, "e": False, "f": 0, "known": 1}
    assert rest(given, {"known"}) == {"e": False, "f": 0}


def test_members_of_a_part() -> None:
    """Existing members are not replaced; objects of the same name are merged."""
    part = with_rest({"type": "text", "more": {"a": 1}}, {"type": "other", "more": {"a": 2, "b": 3}}, NOTHING)
    assert part == {"type": "text", "more": {"a": 1, "b": 3}}


def test_parameters_of_a_request_and_of_its_members() -> None:
    """Parameters without an attribute, from the request or its members, are recorded together, if there are any."""
    body = {"model": "m", "config": {"known": 1, "new": 2}, "other": 3}
    assert parameters(body, {"model", "config"}, ("config", {"known"})) == {PARAMETERS: {"other": 3, "new": 2}}
    assert parameters({"model": "m"}, {"model"}) == {}


def test_unknown_members_of_an_answer_are_recorded() -> None:
    """Unknown members of an answer are recorded, and so are its counts that are not tokens."""
    body = {"id": "i", "new": 1, "usage": {"known": 2, "details": {"known": 3, "more": 4, "zero": 0}, "searches": 5}}
    counts = {"known": None, "details": {"known"}}
    assert beside(body, {"id", "usage"}, counts) == {
        RESPONSE: {"response": {"new": 1, "usage": {"details": {"more": 4}, "searches": 5}}}
    }
    assert beside({"id": "i", "usage": {"known": 2}}, {"id", "usage"}, counts) == {}
    assert uncounted({"list": [{"zero": 0}, {"one": 1}]}, {}) == {"list": [{"one": 1}]}


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (([1], [2]), [1, 2]),
        (([1], [1, 2]), [1, 2]),
        ((None, [1], None), [1]),
        (("a", "b"), "b"),
        (({"list": [1]}, {"list": [2]}), {"list": [1, 2]}),
        (
            (
                [{"type": "t", "index": 0, "text": "a"}],
                [{"type": "t", "index": 0, "text": "b"}, {"type": "t", "index": 1}],
            ),
            [{"type": "t", "index": 0, "text": "ab"}, {"type": "t", "index": 1}],
        ),
    ],
)
def test_pieces_of_a_value_are_one_value(pieces: Any, whole: Any) -> None:
    """Pieces of lists and objects are joined; a piece that repeats the value so far is not added again."""
    found: Any = None
    for piece in pieces:
        found = grown(found, piece)
    assert found == whole


def test_log_probabilities() -> None:
    """The log probabilities of all chunks of a stream are kept, even two equal ones, without the tokens' bytes."""
    of_stream = Logprobs()
    for _ in range(2):
        of_stream.add({"content": [{"token": "ha", "bytes": [1], "logprob": -1}], "refusal": None, "model": "m"})
    whole = of_stream.whole()
    assert whole == {"model": "m", "content": [{"token": "ha", "bytes": [1], "logprob": -1}] * 2}
    content = with_logprobs({RESPONSE: {"response": {"a": 1}}}, [{"logprobs": whole}, {}])
    token = {"token": "ha", "logprob": -1}
    assert content == {RESPONSE: {"response": {"a": 1, "logprobs": {"model": "m", "content": [token, token]}}}}
    assert with_logprobs({}, [{}]) == {}
