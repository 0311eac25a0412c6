"""A divergence names the call and the path of any edit of a request; irrelevant changes cause none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.replay.cassette_script import Script
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.request_keys import read_request
from recorded_conversations import PLACE, PROTOCOLS, Body, Conversation, Protocol, cassette_of, request_of, shop_talk

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


def played(talk: Conversation, protocol: Protocol, before: int) -> Script:
    """Return the script of a conversation after its first calls."""
    cassette = cassette_of(talk, protocol)
    script = Script(cassette)
    for interaction in cassette.interactions[:before]:
        assert script.take(interaction.request, at=PLACE) == interaction
    return script


def check_an_edit(talk: Conversation, protocol: Protocol, call: int, draw: random.Random) -> None:
    """Check that after the edit of one request, the divergence names its call and the path of the edit."""
    number = call % (len(talk.rounds) + 1)
    body = deepcopy(protocol.body(talk, number))
    path = draw.choice(EDITS)(body, protocol, draw)
    script = played(talk, protocol, number)

    with pytest.raises(Divergence) as caught:
        script.take(request_of(protocol, body, talk.model), at=PLACE)

    assert (caught.value.call, caught.value.path) == (number + 1, path)
    assert f"call {number + 1} of {len(talk.rounds) + 1}" in str(caught.value)
    assert caught.value.recorded != caught.value.asked


def check_another_model(talk: Conversation, protocol: Protocol, call: int) -> None:
    """Check that after a change of the model, the divergence names it, wherever the protocol has it."""
    number = call % (len(talk.rounds) + 1)
    other = replace(talk, model="model-2")
    script = played(talk, protocol, number)

    with pytest.raises(Divergence) as caught:
        script.take(request_of(protocol, protocol.body(other, number), "model-2"), at=PLACE)

    assert (caught.value.call, caught.value.path) == (number + 1, "model")
    assert "model-2" in str(caught.value)


def check_an_order(talk: Conversation, protocol: Protocol, call: int) -> None:
    """Check that after the removal of a call, the divergence names the next one as too early."""
    number = call % len(talk.rounds)
    script = played(talk, protocol, number)

    with pytest.raises(Divergence, match=f"call {number + 2} came before {number + 1}") as caught:
        script.take(request_of(protocol, protocol.body(talk, number + 1), talk.model), at=PLACE)

    assert (caught.value.call, caught.value.path) == (number + 2, "")


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


def same_request(protocol: Protocol, body: Body, model: str, names: str, draw: random.Random) -> RecordedRequest:
    """Return a request with the same meaning, with everything changed that may differ between two runs."""
    other = _shuffled(body, draw)
    protocol.tools(other).reverse()
    other["requestMetadata" if protocol.name == "converse" else "metadata"] = {"user_id": names}
    request = request_of(protocol, other, model)
    text = json.dumps(other, indent=draw.choice([None, 2])).encode()
    text = re.sub(rb"call_(\d+[ab])", rb"toolu_" + names.encode() + rb"\1", text)
    headers = [("content-type", "application/json"), ("user-agent", names), ("x-request-id", names)]
    draw.shuffle(headers)
    uri = request.uri.replace("models.example", f"{names}.example:8443")
    return replace(request, uri=uri, headers=dict(headers), body=text)


def check_nothing(talk: Conversation, protocol: Protocol, names: str, draw: random.Random) -> None:
    """Check that a conversation with other ids, hosts, headers, white space and orders gets the recorded answers."""
    cassette = cassette_of(talk, protocol)
    script = Script(cassette)

    for number, interaction in enumerate(cassette.interactions):
        request = same_request(protocol, protocol.body(talk, number), talk.model, names, draw)
        assert read_request(request).key == read_request(interaction.request).key
        assert script.take(request, at="renamed > program") == interaction

    assert script.never_made() is None
    assert script.divergence is None


a_few = settings(max_examples=25)
a_hundred = settings(max_examples=400)
_names = st.text("abcdef0123456789", min_size=8, max_size=24)


@a_few
@given(cases)
def test_an_edit_is_told_at_its_call_and_path(case: tuple[Conversation, Protocol, int, random.Random]) -> None:
    """The divergence names call and path of a changed text or schema, a missing tool or turn, a new turn or field."""
    check_an_edit(*case)


@pytest.mark.outer
@a_hundred
@given(cases)
def test_hundreds_of_edits_are_told(case: tuple[Conversation, Protocol, int, random.Random]) -> None:
    """For many more random edits, the divergence names call and path."""
    check_an_edit(*case)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
@pytest.mark.parametrize("call", range(3))
def test_another_model_is_told(protocol: Protocol, call: int) -> None:
    """A changed model is named, in the body or in the path of Gemini and Bedrock."""
    check_another_model(shop_talk(), protocol, call)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
@pytest.mark.parametrize("call", range(3))
def test_a_call_that_is_left_out_is_told(protocol: Protocol, call: int) -> None:
    """If a call is left out, the divergence is that the next call came before the missing one."""
    check_an_order(shop_talk(), protocol, call)


@a_few
@given(conversations, st.sampled_from(PROTOCOLS), _names, _random)
def test_meaningless_changes_are_not_reported(
    talk: Conversation, protocol: Protocol, names: str, draw: random.Random
) -> None:
    """Changed ids, hosts, headers, white space, and orders of keys and of tools cause no divergence."""
    check_nothing(talk, protocol, names, draw)


@pytest.mark.outer
@a_hundred
@given(conversations, st.sampled_from(PROTOCOLS), _names, _random)
def test_hundreds_of_changes_that_mean_nothing(
    talk: Conversation, protocol: Protocol, names: str, draw: random.Random
) -> None:
    """Many more random irrelevant changes cause no divergence."""
    check_nothing(talk, protocol, names, draw)
