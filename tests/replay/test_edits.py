"""A divergence names the call and the path of any edit of a request; irrelevant changes cause none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pandaprobe_otel
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, json_reply
from recorded_conversations import (
    PROTOCOLS,
    Body,
    Conversation,
    Protocol,
    Sent,
    request_of,
    requests_of,
    send,
    shop_talk,
)

_NOT_CONTENT = {"id", "tool_call_id", "call_id", "tool_use_id", "toolUseId", "role", "type"}
_WORDS = st.text("abcdefghij ", min_size=1, max_size=30).filter(str.strip)

conversations = st.builds(
    lambda talk, question, system: replace(talk, question=f"Q {question}", system=f"S {system}"),
    st.integers(1, 4).map(shop_talk),
    _WORDS,
    _WORDS,
)
_random = st.integers(0, 1 << 32).map(random.Random)
cases = st.tuples(conversations, st.sampled_from(PROTOCOLS), st.integers(0, 100), _random)


def leaves(value: Any, path: str) -> Iterator[str]:
    """Yield the path of each text or number of a JSON value, also in JSON within texts."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _NOT_CONTENT and item is not None:
                yield from leaves(item, f"{path}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}[{place}]")
    elif isinstance(value, str) and value.startswith("{"):
        yield from leaves(json.loads(value), path)
    else:
        yield path


def changed(value: Any, steps: list[str]) -> Any:
    """Return a copy of a JSON value with another text at the end of these steps."""
    if not steps:
        return "something else"
    if isinstance(value, str):
        return json.dumps(changed(json.loads(value), steps))
    if isinstance(value, list):
        place = int(steps[0])
        return [*value[:place], changed(value[place], steps[1:]), *value[place + 1 :]]
    return {**value, steps[0]: changed(value[steps[0]], steps[1:])}


def a_text(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Change a text or number in the turns."""
    path = draw.choice(list(leaves(body[protocol.turns], protocol.turns)))
    body[protocol.turns] = changed(body[protocol.turns], re.findall(r"\w+", path)[1:])
    return path


def a_schema(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Change the type of a tool's argument."""
    definition = protocol.definition(draw.choice(protocol.tools(body)))
    schema = definition
    for name in protocol.schema.split("."):
        schema = schema[name]
    argument = draw.choice(sorted(schema["properties"]))
    schema["properties"][argument] = {"type": "boolean"}
    return f"{protocol.tools_path}.{definition['name']}.{protocol.schema}.properties.{argument}.type"


def a_tool(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Remove a tool."""
    tools = protocol.tools(body)
    gone = tools.pop(draw.randrange(len(tools)))
    return f"{protocol.tools_path}.{protocol.definition(gone)['name']}"


def a_turn(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Remove a turn."""
    turns = body[protocol.turns]
    place = draw.randrange(len(turns))
    del turns[place]
    return f"{protocol.turns}[{place}]"


def one_more_turn(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Insert a turn."""
    turns = body[protocol.turns]
    place = draw.randrange(len(turns) + 1)
    turns.insert(place, {"role": "user", "content": [{"text": "one more"}]})
    return f"{protocol.turns}[{place}]"


def a_field(body: Body, protocol: Protocol, draw: random.Random) -> str:
    """Add an unknown field."""
    body["a_new_field"] = draw.random()
    return "a_new_field"


EDITS = (a_text, a_schema, a_tool, a_turn, one_more_turn, a_field)
EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(400, marks=pytest.mark.outer)])


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the cassettes that are recorded one after the other."""
    return tmp_path_factory.mktemp("cassettes") / "shop.yaml"


@pytest.fixture
def url(server: ProviderServer) -> str:
    """Return the URL of a model."""
    server.replies(json_reply({"answer": 1}))
    return server.url


def record(talk: Conversation, protocol: Protocol, cassette: Path, url: str) -> list[Sent]:
    """Record a conversation, and return its requests."""
    requests = requests_of(talk, protocol)
    with pandaprobe_otel.recording(cassette, mode="all"):
        send(url, *requests)
    return requests


def divergence(cassette: Path, *requests: Sent) -> Divergence:
    """Return the divergence of requests in a replay; nothing listens at their URL."""
    with pytest.raises(Divergence) as caught, pandaprobe_otel.recording(cassette, mode="none"):
        send("http://other.example:9", *requests)
    return caught.value


def _shuffled(value: Any, draw: random.Random) -> Any:
    """Return the same JSON with shuffled keys, and with other white space in JSON within texts."""
    if isinstance(value, dict):
        items = [(name, _shuffled(item, draw)) for name, item in value.items()]
        draw.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [_shuffled(item, draw) for item in value]
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(_shuffled(json.loads(value), draw), indent=draw.choice([None, 1, 4]))
    return value


def same_request(protocol: Protocol, body: Body, model: str, names: str, draw: random.Random) -> Sent:
    """Return a request with the same meaning, with everything changed that may differ between two runs."""
    other = _shuffled(body, draw)
    protocol.tools(other).reverse()
    other["requestMetadata" if protocol.name == "converse" else "metadata"] = {"user_id": names}
    request = request_of(protocol, other, model)
    text = json.dumps(other, indent=draw.choice([None, 2])).encode()
    text = re.sub(rb"call_(\d+[ab])", rb"toolu_" + names.encode() + rb"\1", text)
    headers = [("content-type", "application/json"), ("user-agent", names), ("x-request-id", names)]
    draw.shuffle(headers)
    return replace(request, headers=dict(headers), body=text)


_names = st.text("abcdef0123456789", min_size=8, max_size=24)


@EXAMPLES
def test_an_edit_is_named_at_its_call_and_path(examples: int, cassette: Path, url: str) -> None:
    """The divergence names call and path of a changed text or schema, a missing tool or turn, a new turn or field."""

    @settings(max_examples=examples)
    @given(cases)
    def check(case: tuple[Conversation, Protocol, int, random.Random]) -> None:
        talk, protocol, call, draw = case
        requests = record(talk, protocol, cassette, url)
        number = call % len(requests)
        body = deepcopy(protocol.body(talk, number))
        path = draw.choice(EDITS)(body, protocol, draw)
        found = divergence(cassette, *requests[:number], request_of(protocol, body, talk.model))
        assert (found.call, found.path) == (number + 1, path)
        assert f"call {number + 1} of {len(requests)}" in str(found)
        assert found.recorded != found.asked

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
def test_another_model_and_a_missing_call_are_named(protocol: Protocol, cassette: Path, url: str) -> None:
    """A changed model is named wherever a protocol has it; after a missing call, the next one came too early."""
    talk = shop_talk()
    requests = record(talk, protocol, cassette, url)
    others = requests_of(replace(talk, model="model-2"), protocol)
    for number in range(3):
        found = divergence(cassette, *requests[:number], others[number])
        assert (found.call, found.path) == (number + 1, "model")
        assert "model-2" in str(found)
        found = divergence(cassette, *requests[:number], requests[number + 1])
        assert (found.call, found.path) == (number + 2, "")
        assert f"call {number + 2} came before {number + 1}" in str(found)


@EXAMPLES
def test_changes_without_meaning_cause_no_divergence(examples: int, cassette: Path, url: str) -> None:
    """Other ids, hosts, headers, white space, and orders of keys and of tools get the recorded answers."""

    @settings(max_examples=examples)
    @given(conversations, st.sampled_from(PROTOCOLS), _names, _random)
    def check(talk: Conversation, protocol: Protocol, names: str, draw: random.Random) -> None:
        requests = record(talk, protocol, cassette, url)
        bodies = [protocol.body(talk, rounds) for rounds in range(len(requests))]
        with pandaprobe_otel.recording(cassette, mode="none") as replayed:
            send(
                "http://other.example:8443", *(same_request(protocol, body, talk.model, names, draw) for body in bodies)
            )
        assert [call.number for call in replayed.calls] == [*range(1, len(requests) + 1)]

    check()
