"""The script of a cassette: which recorded call answers a request, in which order, and the message if none does."""

from __future__ import annotations

import json
import pickle
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pandaprobe_otel.replay.cassette_script import Script
from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest, ToolCall
from recorded_conversations import BY_NAME, PLACE, cassette_of, request_of, shop_talk

CHAT = BY_NAME["chat"]


def ask(text: str, model: str = "m") -> RecordedRequest:
    """Return a request with this text."""
    return request_of(CHAT, {"model": model, "messages": [{"role": "user", "content": text}]})


def entry(call: int, text: str, *, at: str = "", after: Sequence[int] = ()) -> Interaction:
    """Return a recorded call."""
    return Interaction(call, ask(text), RecordedAnswer(200, body=text.encode()), at, tuple(after))


def recorded(*entries: Interaction) -> Cassette:
    """Return a cassette of these calls."""
    return Cassette(interactions=entries)


BRANCHES = recorded(
    entry(1, "plan"),
    entry(2, "left", at="left", after=[1]),
    entry(3, "right", at="right", after=[1]),
    entry(4, "sum up", after=[2, 3]),
)


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
def test_parallel_branches_may_swap(order: tuple[str, str]) -> None:
    """Parallel branches may make their calls in any order."""
    script = Script(BRANCHES)

    asked = [script.take(ask(text), at="").call for text in ("plan", *order, "sum up")]

    assert sorted(asked) == [1, 2, 3, 4]
    assert script.never_made() is None


def test_a_summary_does_not_come_before_its_branches() -> None:
    """A call before its recorded predecessors is a divergence that names both calls."""
    script = Script(BRANCHES)
    script.take(ask("plan"), at="")
    script.take(ask("left"), at="left")

    with pytest.raises(Divergence, match="call 4 came before 3") as caught:
        script.take(ask("sum up"), at="")

    assert (caught.value.call, caught.value.path) == (4, "")
    assert "right > chat m had ended before it began" in str(caught.value)


def test_equal_requests_take_answers_in_turn() -> None:
    """Equal requests get the recorded answers in order, and none twice."""
    script = Script(recorded(*(entry(number, "again", after=range(1, number)) for number in (1, 2, 3))))

    assert [script.take(ask("again"), at="").call for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Divergence, match="call 1 was made once more than it was recorded"):
        script.take(ask("again"), at="")


def test_an_equal_request_of_the_same_place_comes_first() -> None:
    """Of equal requests, the one recorded in the same span comes first, so each worker gets its own answer."""
    script = Script(recorded(entry(1, "same", at="one"), entry(2, "same", at="two")))

    assert script.take(ask("same"), at="two").call == 2
    assert script.take(ask("same"), at="two").call == 1


def test_parallel_requests_that_differ_in_an_id_only_get_their_own_answers() -> None:
    """Among requests that are equal except for ids, the one with the same id is chosen."""
    documents = ["4d0e7c1a-1111-4111-8111-000000000001", "4d0e7c1a-1111-4111-8111-000000000002"]
    cassette = recorded(
        *(entry(number, f"Summarise {name}", at="summarise") for number, name in enumerate(documents, 1))
    )
    script = Script(cassette)

    assert [script.take(ask(f"Summarise {name}"), at="summarise").call for name in documents[::-1]] == [2, 1]


def test_an_id_that_an_earlier_call_has_named_tells_which_is_which() -> None:
    """A new id stands for the recorded one at the same position in an earlier call."""
    old = [f"4d0e7c1a-1111-4111-8111-00000000000{place}" for place in range(2)]
    new = [f"aaaaaaaa-1111-4111-8111-00000000000{place}" for place in range(2)]
    cassette = recorded(
        entry(1, f"List {old[0]} {old[1]}"),
        entry(2, f"Summarise {old[0]}", after=[1]),
        entry(3, f"Summarise {old[1]}", after=[1]),
    )
    script = Script(cassette)

    script.take(ask(f"List {new[0]} {new[1]}"), at="")
    assert [script.take(ask(f"Summarise {name}"), at="").call for name in new[::-1]] == [3, 2]


def test_a_request_that_fails_and_is_sent_again_is_two_entries() -> None:
    """A refused request and its retry are two entries, replayed in this order."""
    refused = replace(entry(1, "Hi"), answer=RecordedAnswer(429, headers={"retry-after": "3"}))
    script = Script(recorded(refused, entry(2, "Hi", after=[1])))

    assert [script.take(ask("Hi"), at="").answer.status for _ in range(2)] == [429, 200]


def test_the_first_divergence_stays() -> None:
    """After a divergence, every later request gets the same divergence again, even if a framework caught the first."""
    script = Script(BRANCHES)
    with pytest.raises(Divergence) as first:
        script.take(ask("something else"), at="")

    for text in ("plan", "left", "another"):
        with pytest.raises(Divergence) as again:
            script.take(ask(text), at="")
        assert str(again.value) == str(first.value)
    with pytest.raises(Divergence):
        Script(replace(BRANCHES, tools=(ToolCall("t", {}),))).take_tool(ToolCall("t", {"a": 1}))
    assert script.divergence is not None
    assert str(script.divergence) == str(first.value)
    assert script.divergence.__traceback__ is None
    assert script.never_made() is None


def test_calls_that_nobody_asks_for_are_told() -> None:
    """The message counts all recorded calls that were not made, and names the place of the first."""
    script = Script(BRANCHES)
    script.take(ask("plan"), at="")

    left = script.never_made()

    assert left is not None
    assert left.call == 2
    assert "never made: calls 2..4 of 4\n  left > chat m\n" in str(left)


def test_the_nearest_entry_is_taken_by_who_accepts_it() -> None:
    """Accepting the nearest call removes the divergence, and the run goes on."""
    script = Script(BRANCHES)
    with pytest.raises(Divergence):
        script.take(ask("plans"), at="")

    accepted = script.nearest(ask("plans"), at="")

    assert accepted is not None
    assert accepted.call == 1
    assert script.divergence is None
    assert [script.take(ask(text), at="").call for text in ("left", "right", "sum up")] == [2, 3, 4]
    assert script.nearest(ask("plan"), at="") is None


def test_who_adds_to_a_cassette_asks_for_what_is_known() -> None:
    """In a mode that adds calls, an unknown call is not a divergence."""
    script = Script(BRANCHES)

    assert script.take_known(ask("unheard"), at="") is None
    known = script.take_known(ask("plan"), at="")
    assert known is not None
    assert known.call == 1
    assert script.divergence is None


def test_a_recording_may_end_early() -> None:
    """After `ends_at`, recorded calls are optional, and an unknown call ends the program without a divergence."""
    script = Script(BRANCHES, ends_at=1)
    script.take(ask("plan"), at="")
    assert script.never_made() is None

    assert script.take(ask("left"), at="left").call == 2
    with pytest.raises(EndOfRecording):
        script.take(ask("a mended question"), at="")

    assert not issubclass(EndOfRecording, Exception)
    assert script.divergence is None
    assert script.take(ask("right"), at="").call == 3


def test_before_its_end_a_recording_diverges_as_any_other() -> None:
    """Before `ends_at`, an unknown call is a divergence, so that no test passes without reaching the end."""
    script = Script(BRANCHES, ends_at=2)
    script.take(ask("plan"), at="")

    with pytest.raises(Divergence):
        script.take(ask("something else"), at="")


TOOLS = Cassette(
    tools=(
        ToolCall("look_up", {"number": "A-1"}, "first", at="one"),
        ToolCall("look_up", {"number": "A-1"}, "second", at="two"),
        ToolCall("look_up", {"number": "A-2", "deep": {"b": 1.0, "a": [1]}}, "third"),
    )
)


def test_tools_answer_by_name_arguments_and_occurrence() -> None:
    """A tool call is answered by name and arguments, first from the same place, then in order."""
    script = Script(TOOLS)

    def result(**arguments: Any) -> Any:
        found = script.take_tool(ToolCall("look_up", arguments, at="two"))
        return found and found.result

    assert result(deep={"a": (1,), "b": 1}, number="A-2") == "third"
    assert [result(number="A-1") for _ in range(2)] == ["second", "first"]
    assert script.take_tool(ToolCall("unknown", {})) is None


def test_a_known_tool_with_other_arguments_diverges() -> None:
    """A recorded tool with other arguments is a divergence that names the argument."""
    script = Script(TOOLS)

    with pytest.raises(Divergence, match=r"tool look_up, 1st call: one > look_up\n  arguments\.number\n") as caught:
        script.take_tool(ToolCall("look_up", {"number": "A-9"}, at="one"))

    assert (caught.value.path, caught.value.recorded, caught.value.asked) == ("arguments.number", "A-1", "A-9")
    with pytest.raises(Divergence, match="A-9"):
        script.take_tool(ToolCall("look_up", {"number": "A-1"}, at="one"))


def test_a_tool_that_is_called_too_often_diverges() -> None:
    """A tool call beyond the recorded number is a divergence."""
    script = Script(replace(TOOLS, tools=TOOLS.tools[:1]))
    script.take_tool(ToolCall("look_up", {"number": "A-1"}))

    with pytest.raises(Divergence, match="tool look_up, 2nd call"):
        script.take_tool(ToolCall("look_up", {"number": "A-1"}))


def test_a_mended_program_may_call_a_tool_anew() -> None:
    """After `ends_at`, an unknown tool call ends the program."""
    script = Script(Cassette((entry(1, "plan"),), TOOLS.tools), ends_at=1)
    script.take(ask("plan"), at="")

    with pytest.raises(EndOfRecording):
        script.take_tool(ToolCall("look_up", {"number": "A-9"}))


def test_ignored_arguments_of_tools_do_not_count() -> None:
    """Arguments of tools can be ignored by path and by pattern, like fields of requests."""
    by_path = Script(TOOLS, ignore=["arguments.number"])
    by_pattern = Script(TOOLS, ignore=[re.compile(r"A-\d+")])

    for script in (by_path, by_pattern):
        assert script.take_tool(ToolCall("look_up", {"number": "A-77"})) is not None


def test_threads_share_a_script() -> None:
    """Threads that share a script get each of 400 entries once."""
    texts = [f"question {place % 40}" for place in range(400)]
    script = Script(recorded(*(entry(number, text) for number, text in enumerate(texts, 1))))
    taken: list[int] = []

    def work(mine: Sequence[str]) -> None:
        taken.extend(script.take(ask(text), at="").call for text in mine)

    threads = [threading.Thread(target=work, args=(texts[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == list(range(1, 401))
    assert script.never_made() is None


def test_a_cassette_without_an_order_is_played_in_any() -> None:
    """Without a recorded order, or after a removed call, entries are replayed in any order."""
    texts = ["a", "b", "c", "d"]
    cassette = recorded(*(entry(number, text, after=[77]) for number, text in enumerate(texts, 1)))
    random.Random(1).shuffle(texts)
    script = Script(cassette)

    assert sorted(script.take(ask(text), at="").call for text in texts) == [1, 2, 3, 4]


def cost_of(calls: int) -> float:
    """Return the CPU time to replay a conversation whose messages grow by 2 kB a call."""
    messages = [{"role": "user", "content": f"{place} " + "word " * 400} for place in range(calls)]
    requests = [request_of(CHAT, {"model": "m", "messages": messages[:number]}) for number in range(1, calls + 1)]
    script = Script(
        recorded(
            *(
                Interaction(number, request, RecordedAnswer(200), "", (number - 1,))
                for number, request in enumerate(requests, 1)
            )
        )
    )
    begin = time.thread_time()
    for request in requests:
        script.take(request, at="")
    return time.thread_time() - begin


@pytest.mark.outer
def test_a_hundred_calls_of_growing_messages_cost_what_their_bytes_do() -> None:
    """Twice the calls have four times the bytes, and take little more than four times as long."""
    small, large = (min(cost_of(calls) for _ in range(3)) for calls in (50, 100))

    assert large < 8 * small


def test_a_divergence_reads_like_this() -> None:
    """A divergence has the call, its place, the field, both values, the equal fields, the file and the options."""
    talk = shop_talk()
    cassette = cassette_of(talk, CHAT)
    script = Script(cassette)
    for interaction in cassette.interactions[:2]:
        script.take(interaction.request, at=PLACE)
    body = CHAT.body(talk, 2)
    body["messages"][4]["content"] = '{"ok": false, "nr": 0}'

    with pytest.raises(Divergence) as caught:
        script.take(request_of(CHAT, body), at=PLACE)

    assert str(caught.value) == (
        "Divergence at call 3 of 4: shop_assistant > chat model-1 (3rd)\n"
        "  messages[4] (tool, answers refund #1).content.ok\n"
        "-   true\n"
        "+   false\n"
        "  equal: model, 2 tools, messages[0..3]; calls 1 and 2 as recorded\n"
        "  nearest: cassettes/shop.yaml:60\n"
        "  accept: --pandaprobe-diverge=accept    record this call again: =rerecord    live from here: =live"
    )


def diverged(recorded_body: dict[str, Any], asked_body: dict[str, Any], ignore: Sequence[str] = ()) -> Divergence:
    """Return the divergence of one call."""
    cassette = recorded(Interaction(1, request_of(CHAT, recorded_body), RecordedAnswer(200)))
    with pytest.raises(Divergence) as caught:
        Script(cassette, ignore=ignore).take(request_of(CHAT, asked_body), at="")
    return caught.value


def said(text: str) -> dict[str, Any]:
    """Return a body with one message."""
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("Today is 2026-01-02.", "Today is 2026-11-28.", "date"),
        ("It is Monday, 09:15.", "It is Friday, 17:40.", "date"),
        ("On 3 March 2026", "On 14 July 2027", "date"),
        ("at 1767312000", "at 1795900000", "date"),
        ("ticket 8fj3k2l9", "ticket 2kd9x0a1", "generated id"),
    ],
)
def test_a_difference_that_looks_made_up_names_ignore(old: str, new: str, kind: str) -> None:
    """For a differing date or generated id, the message proposes an `ignore` path, which works."""
    divergence = diverged(said(old), said(new))

    assert f'looks like a {kind}: ignore=["messages[0].content"]' in str(divergence)
    other = diverged(said(old), {**said(new), "model": "other"}, ignore=["messages[0].content"])
    assert other.path == "model"
    assert "also:" not in str(other)


@pytest.mark.parametrize(("old", "new"), [("order A-17", "order A-18"), ("Hello", "Goodbye"), ("5 apples", "6 apples")])
def test_a_difference_that_is_content_does_not(old: str, new: str) -> None:
    """For any other difference, the message proposes no `ignore`, because the test should find it."""
    assert "ignore=" not in str(diverged(said(old), said(new)))


def test_a_text_of_a_book_is_shown_in_a_few_lines() -> None:
    """A difference in a very long text is shown with a few lines around it, and quickly."""
    lines = [f"line {place} of a long text" for place in range(20_000)]
    other = [*lines]
    other[10_000] = "line 10000 of another text"
    for joint in ("\n", " "):
        text = str(diverged(said(joint.join(lines)), said(joint.join(other))))
        assert "of another text" in text
        assert len(text) < 2500


def test_a_divergence_crosses_processes() -> None:
    """A divergence can be pickled, because tests run in worker processes."""
    divergence = diverged(said("one"), said("two"))

    other = pickle.loads(pickle.dumps(divergence))

    assert str(other) == str(divergence)
    assert (other.call, other.path, other.recorded, other.asked) == (1, "messages[0].content", "one", "two")


def test_nothing_but_the_scrubbed_request_is_told() -> None:
    """The message has only the scrubbed body, without headers and, for a known protocol, without the query."""
    secret = "sk-planted-0123456789"
    request = RecordedRequest(
        "POST",
        f"https://x.example/v1/chat/completions?key={secret}",
        {"authorization": secret},
        json.dumps(said("a")).encode(),
    )
    cassette = recorded(Interaction(1, request, RecordedAnswer(200, body=secret.encode())))
    asked = replace(request, body=json.dumps(said("b")).encode())

    with pytest.raises(Divergence) as caught:
        Script(cassette).take(asked, at="")

    assert secret not in str(caught.value)
