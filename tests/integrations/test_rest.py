"""What is left of a request or an answer: which of it is told, and how."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from pydantic import BaseModel

from pandaprobe_otel_integrations._logprobs import Logprobs, with_logprobs
from pandaprobe_otel_integrations._rest import (
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
    """That there was one is told, and not what it was."""
    assert rest({"tools": [{name: "sk-1"}]}, NOTHING) == {"tools": [{name: WITHHELD}]}


@pytest.mark.parametrize(
    "name", ["token", "max_tokens", "token_budget", "prompt_tokens", "keyword", "header", "author"]
)
def test_other_names_are_no_credentials(name: str) -> None:
    """Tokens of a text are none."""
    assert rest({name: "x"}, NOTHING) == {name: "x"}


def test_bytes_are_told_by_their_digest() -> None:
    """As bytes, as a URL, and as base64 that is long enough to tell."""
    data = bytes(range(256)) * 8
    encoded = base64.b64encode(data).decode()
    digest = hashlib.sha256(data).hexdigest()
    found: Any = told({"a": data, "b": f"data:image/png;base64,{encoded}", "c": [encoded]})
    assert [found["a"]["sha256"], found["b"]["sha256"], found["c"][0]["sha256"]] == [digest] * 3
    assert told("word " * 1000) == "word " * 1000


def test_what_only_the_service_can_read_is_named_by_its_length() -> None:
    """Encrypted content is of no use to a reader."""
    assert rest({"results": [{"encrypted_content": "x" * 9}]}, NOTHING) == {
        "results": [{"encrypted_content": "[9 characters that only the service can read]"}]
    }


def test_models_and_marks_of_client_libraries() -> None:
    """A class of pydantic is its schema, an instance its fields; a mark that there is nothing is nothing."""

    class Found(BaseModel):
        """An answer."""

        city: str

    class NotGiven:
        """As client libraries have it."""

    assert rest({"format": Found}, NOTHING)["format"]["properties"]["city"]["type"] == "string"
    assert rest(
        {"given": Found(city="Paris"), "none": NotGiven(), "inside": {"none": NotGiven(), "a": 1}}, NOTHING
    ) == {
        "given": {"city": "Paris"},
        "inside": {"a": 1},
    }
    assert rest({"type": int}, NOTHING) == {"type": "int"}


def test_what_is_empty_says_nothing() -> None:
    """But false and zero do."""
    given: dict[str, Any] = {"a": None, "b": "", "c": [], "d": {}, "e": False, "f": 0, "known": 1}
    assert rest(given, {"known"}) == {"e": False, "f": 0}


def test_members_stand_beside_those_of_a_part() -> None:
    """None of those is replaced; objects of the same name are one."""
    part = with_rest({"type": "text", "more": {"a": 1}}, {"type": "other", "more": {"a": 2, "b": 3}}, NOTHING)
    assert part == {"type": "text", "more": {"a": 1, "b": 3}}


def test_parameters_of_a_request_and_of_its_members() -> None:
    """Nothing at all where all are known."""
    body = {"model": "m", "config": {"known": 1, "new": 2}, "other": 3}
    assert parameters(body, {"model", "config"}, ("config", {"known"})) == {PARAMETERS: {"other": 3, "new": 2}}
    assert parameters({"model": "m"}, {"model"}) == {}


def test_what_an_answer_says_beside_what_was_said() -> None:
    """Members, and counts that are no tokens."""
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
    """Lists and objects grow; what repeats what came before is not added to it."""
    found: Any = None
    for piece in pieces:
        found = grown(found, piece)
    assert found == whole


def test_log_probabilities_stand_beside_the_messages() -> None:
    """Of a stream, those of all chunks, also where two are the same; without the bytes of the tokens."""
    of_stream = Logprobs()
    for _ in range(2):
        of_stream.add({"content": [{"token": "ha", "bytes": [1], "logprob": -1}], "refusal": None, "model": "m"})
    whole = of_stream.whole()
    assert whole == {"model": "m", "content": [{"token": "ha", "bytes": [1], "logprob": -1}] * 2}
    content = with_logprobs({RESPONSE: {"response": {"a": 1}}}, [{"logprobs": whole}, {}])
    token = {"token": "ha", "logprob": -1}
    assert content == {RESPONSE: {"response": {"a": 1, "logprobs": {"model": "m", "content": [token, token]}}}}
    assert with_logprobs({}, [{}]) == {}
