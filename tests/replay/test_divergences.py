"""Recorded calls that answer a request, and the message if none does."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import pandaprobe_otel
from cpu import cpu_seconds
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, json_reply
from recorded_conversations import BY_NAME, Sent, request_of, requests_of, send, shop_talk
from span_recorder import recording as spans_recorded

CHAT = BY_NAME["chat"]
IDS = [f"4d0e7c1a-1111-4111-8111-00000000000{place}" for place in range(2)]
NEW_IDS = [f"aaaaaaaa-1111-4111-8111-00000000000{place}" for place in range(2)]


def question(text: str) -> Sent:
    """Return a request with one message."""
    return request_of(CHAT, {"model": "m", "messages": [{"role": "user", "content": text}]})


@pytest.fixture
def ask(server: ProviderServer) -> Callable[..., None]:
    """Return a function that asks a model questions, below spans of its own if they are named."""
    server.replies(json_reply({}))

    def ask_all(*questions: str | Sent, within: Sequence[str] = ()) -> None:
        for place, one in enumerate(questions):
            sent = question(one) if isinstance(one, str) else one
            if within:
                with pandaprobe_otel.span(within[place]):
                    send(server.url, sent)
            else:
                send(server.url, sent)

    return ask_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a cassette."""
    return tmp_path / "one.yaml"


def replayed(path: Path, run: Callable[[], None], **options: Any) -> list[int]:
    """Return the numbers of the recorded calls that answer a run."""
    with pandaprobe_otel.recording(path, mode="none", **options) as recording:
        run()
    return [call.number for call in recording.calls]


def divergence(path: Path, run: Callable[[], None], **options: Any) -> Divergence:
    """Return the divergence of a run."""
    with pytest.raises(Divergence) as caught, pandaprobe_otel.recording(path, mode="none", **options):
        run()
    return caught.value


def test_equal_requests_take_answers_in_turn(ask: Callable[..., None], path: Path) -> None:
    """Equal requests get the recorded answers in order, and none twice."""
    with pandaprobe_otel.recording(path):
        ask("again", "again")

    assert replayed(path, lambda: ask("again", "again")) == [1, 2]
    more = divergence(path, lambda: ask("again", "again", "again"))
    assert "call 1 of 2 was made once more than it was recorded" in str(more)


def test_an_equal_request_of_the_same_place_comes_first(ask: Callable[..., None], path: Path) -> None:
    """Of equal requests without an order, the one recorded in the same span comes first."""
    with spans_recorded():
        with pandaprobe_otel.recording(path):
            ask("same", "same", within=("one", "two"))
        without_order(path)

        assert replayed(path, lambda: ask("same", "same", within=("two", "one"))) == [2, 1]


def without_order(path: Path) -> None:
    """Remove the order of the calls from a cassette."""
    document = yaml.safe_load(path.read_text())
    for call in document["interactions"]:
        call["pandaprobe"]["after"] = [77]
    path.write_text(yaml.safe_dump(document))


def test_requests_that_differ_in_an_id_get_their_own_answers(ask: Callable[..., None], path: Path) -> None:
    """Without an order, the request with the same id is chosen, or with the one that replaced it in an earlier call."""
    summaries = [[f"Summarise {name}" for name in names] for names in (IDS, NEW_IDS)]
    with pandaprobe_otel.recording(path):
        ask(f"List {IDS[0]} {IDS[1]}", *summaries[0])
    without_order(path)

    assert replayed(path, lambda: ask(f"List {IDS[0]} {IDS[1]}", *summaries[0][::-1])) == [1, 3, 2]
    assert replayed(path, lambda: ask(f"List {NEW_IDS[0]} {NEW_IDS[1]}", *summaries[1][::-1])) == [1, 3, 2]


def test_calls_after_a_removed_one_are_replayed(ask: Callable[..., None], path: Path) -> None:
    """A call whose predecessor somebody has removed from the file is replayed."""
    with pandaprobe_otel.recording(path):
        ask("first", "second", "third")
    document = yaml.safe_load(path.read_text())
    del document["interactions"][0]
    path.write_text(yaml.safe_dump(document))

    assert replayed(path, lambda: ask("second", "third")) == [2, 3]


def test_calls_that_were_not_made_are_counted(ask: Callable[..., None], path: Path) -> None:
    """The message counts all recorded calls that were not made, and names the first."""
    with pandaprobe_otel.recording(path):
        ask("first", "second", "third")

    missing = divergence(path, lambda: ask("first"))
    assert missing.call == 2
    assert "never made: calls 2 and 3 of 3\n  chat m (2nd) (" in str(missing)
    assert replayed(path, lambda: ask("first"), allow_unused=True) == [1]


def test_the_message_of_a_divergence(server: ProviderServer, ask: Callable[..., None], path: Path) -> None:
    """A divergence has the call, its place, the field, both values, the equal fields, the file and the options."""
    talk = shop_talk()
    requests = requests_of(talk, CHAT)
    body = CHAT.body(talk, 2)
    body["messages"][4]["content"] = '{"ok": false, "nr": 0}'

    def run(*sent: Sent) -> None:
        with pandaprobe_otel.span("shop_assistant"):
            ask(*sent)

    with spans_recorded():
        with pandaprobe_otel.recording(path):
            run(*requests)
        found = divergence(path, lambda: run(*requests[:2], request_of(CHAT, body)))

    line = path.read_text()[: path.read_text().index("call: 3")].count("\n") + 2
    assert str(found) == (
        "Divergence at call 3 of 4: shop_assistant > chat model-1 (3rd)\n"
        "  messages[4] (tool, answers refund #1).content.ok\n"
        "-   true\n"
        "+   false\n"
        "  equal: model, 2 tools, messages[0..3]; calls 1 and 2 as recorded\n"
        f"  nearest: {path}:{line}\n"
        "  accept: --pandaprobe-diverge=accept    record this call again: =rerecord    live from here: =live"
    )
    other = pickle.loads(pickle.dumps(found))  # tests run in worker processes
    assert str(other) == str(found)
    assert (other.call, other.path, other.recorded, other.asked) == (3, found.path, True, False)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("Today is 2026-01-02.", "Today is 2026-11-28.", "date"),
        ("It is Monday, 09:15.", "It is Friday, 17:40.", "date"),
        ("On 3 March 2026", "On 14 July 2027", "date"),
        ("at 1767312000", "at 1795900000", "date"),
        ("ticket 8fj3k2l9", "ticket 2kd9x0a1", "generated id"),
        ("order A-17", "order A-18", None),
        ("Hello", "Goodbye", None),
    ],
)
def test_a_date_or_id_that_differs_proposes_ignore(
    old: str, new: str, kind: str | None, ask: Callable[..., None], path: Path
) -> None:
    """For a differing date or generated id, and for no other text, the message proposes an `ignore` that works."""
    with pandaprobe_otel.recording(path):
        ask(old)

    text = str(divergence(path, lambda: ask(new)))
    if kind is None:
        assert "ignore=" not in text
    else:
        assert f'looks like a {kind}: ignore=["messages[0].content"]' in text
        assert replayed(path, lambda: ask(new), ignore=["messages[0].content"]) == [1]


@pytest.mark.parametrize("joint", ["\n", " "])
def test_a_long_text_is_shown_in_a_few_lines(joint: str, ask: Callable[..., None], path: Path) -> None:
    """A difference in a very long text is shown with a few lines around it."""
    lines = [f"line {place} of a long text" for place in range(20_000)]
    with pandaprobe_otel.recording(path):
        ask(joint.join(lines))
    lines[10_000] = "line 10000 of another text"

    text = str(divergence(path, lambda: ask(joint.join(lines))))
    assert "of another text" in text
    assert len(text) < 2500


def replay_of(calls: int, path: Path, url: str) -> Callable[[], None]:
    """Record a conversation whose messages grow by 2 kB a call, and return a function that replays it."""
    messages = [{"role": "user", "content": f"{place} " + "word " * 400} for place in range(calls)]
    requests = [request_of(CHAT, {"model": "m", "messages": messages[:number]}) for number in range(1, calls + 1)]
    with pandaprobe_otel.recording(path, mode="all"):
        send(url, *requests)

    def replay() -> None:
        with pandaprobe_otel.recording(path, mode="none"):
            send(url, *requests)

    return replay


@pytest.mark.outer
def test_calls_with_growing_messages_cost_what_their_bytes_do(server: ProviderServer, path: Path) -> None:
    """Twice the calls have four times the bytes, and take little more than four times as long."""
    server.replies(json_reply({}))
    small, large = (cpu_seconds(replay_of(calls, path, server.url), 3) for calls in (50, 100))

    assert large < 8 * small
