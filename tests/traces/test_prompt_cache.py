"""Why the prompt cache was missed, on conversations made for each reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from command_line import clean_environment, run_here
from cpu import cpu_seconds
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.traces.prompt_cache import CacheFault, Change, cache_faults, cache_share
from pandaprobe_otel.traces.records import TraceRecord

Messages = list[dict[str, Any]]
START: Final = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
TOOLS: Final[list[dict[str, Any]]] = [
    {"type": "function", "function": {"name": name, "description": f"Use {name} with care.", "parameters": {}}}
    for name in ("track_parcel", "refund_order", "search")
]


@dataclass
class Session:
    """Model calls, one after another, whose tokens are a quarter of their characters."""

    seed: int = 0
    spans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    now: datetime = START

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.system = "You are the assistant of a shop. " + self.words(900)
        self.history: Messages = []

    def words(self, count: int) -> str:
        """Return words that no other text has."""
        return " ".join(f"w{self.random.randrange(10**6)}" for _ in range(count))

    def call(
        self,
        messages: Messages,
        *,
        system: str | None = None,
        tools: Sequence[Any] = TOOLS,
        model: str = "gpt-5",
        agent: str = "shop_assistant",
        cached: float = 0.0,
        usage: bool = True,
        wait_s: float = 5.0,
        takes_s: float = 2.0,
    ) -> None:
        """Add a call that reads a share of its prompt from the cache."""
        self.now += timedelta(seconds=wait_s)
        number = len(self.spans) // 2
        given = [{"role": "system", "content": self.system if system is None else system}, *messages]
        prompt = sum(len(str(each)) for each in given) // 4 + 100
        tokens = {"prompt_tokens": prompt, "completion_tokens": 9, "cache_read_tokens": int(prompt * cached)}
        self.spans += [
            {"span_id": f"a{number}", "kind": "AGENT", "name": agent, "started_at": self.now.isoformat()},
            {
                "span_id": f"m{number}", "parent_span_id": f"a{number}", "kind": "LLM", "name": f"chat {model}",
                "model": model, "input": {"messages": given}, "output": "fine",
                "metadata": {"tools": list(tools)}, "token_usage": tokens if usage else None,
                "started_at": self.now.isoformat(), "ended_at": (self.now + timedelta(seconds=takes_s)).isoformat(),
            },
        ]  # fmt: skip
        self.now += timedelta(seconds=takes_s)

    def turn(self, words: int = 150) -> Messages:
        """Add an answer and a question to the history and return it."""
        if self.history:
            self.history.append({"role": "assistant", "content": self.words(words)})
        self.history.append({"role": "user", "content": self.words(words)})
        return list(self.history)

    @property
    def traces(self) -> list[TraceRecord]:
        """The session as one trace."""
        return [TraceRecord({"trace_id": "t", "spans": self.spans})]


def started(seed: int = 0, turns: int = 3) -> Session:
    """Return a session whose calls continue each other."""
    session = Session(seed)
    for number in range(turns):
        session.call(session.turn(), cached=0.8 if number else 0.0)
    return session


def last_fault(session: Session) -> CacheFault:
    """Return the fault of the session's last call."""
    return next(fault for fault in cache_faults(session.traces) if fault.span.id == session.spans[-1]["span_id"])


# --- breaks ----------------------------------------------------------------------------------------------------------


def _a_time_in_the_system_prompt(session: Session) -> None:
    for minute in (1, 2):
        session.call(session.turn(), system=f"It is 2026-11-02 09:0{minute}. {session.system}")


def _an_id_in_the_system_prompt(session: Session) -> None:
    for request in ("req-8f1c2d3e4b5a", "req-11aa22bb33cc"):
        session.call(session.turn(), system=f"Request {request}. {session.system}")


def _a_counter(session: Session) -> None:
    for number in (4, 5):
        session.call(session.turn(), system=f"Step {number} of 30. {session.system}")


def _shuffled_tools(session: Session) -> None:
    session.call(session.turn(), tools=TOOLS[::-1])


def _an_added_tool(session: Session) -> None:
    session.call(session.turn(), tools=[*TOOLS, {"type": "function", "function": {"name": "cancel"}}])


def _a_changed_tool(session: Session) -> None:
    changed = {"type": "function", "function": {"name": "refund_order", "description": "Use it today."}}
    session.call(session.turn(), tools=[TOOLS[0], changed, TOOLS[2]])


def _an_inserted_message(session: Session) -> None:
    history = session.turn()
    session.call([{"role": "user", "content": "Remember: be brief."}, *history])


def _a_removed_message(session: Session) -> None:
    session.call(session.turn()[1:])


def _an_edited_message(session: Session) -> None:
    history = session.turn()
    session.call([{**history[0], "content": f"Changed {history[0]['content']}"}, *history[1:]])


def _an_edited_system_prompt(session: Session) -> None:
    session.call(session.turn(), system=f"Be polite. {session.system}")


def _an_unchanged_prompt_that_is_not_read(session: Session) -> None:
    session.call(session.turn(), cached=0.0)


BREAKS: Final[dict[Callable[[Session], None], tuple[str, str] | None]] = {
    _a_time_in_the_system_prompt: ("system prompt", "a time"),
    _an_id_in_the_system_prompt: ("system prompt", "an id"),
    _a_counter: ("system prompt", "a number"),
    _shuffled_tools: ("tools", "reordered"),
    _an_added_tool: ("tools", "added"),
    _a_changed_tool: ("tools: refund_order", "edited"),
    _an_inserted_message: ("message 2 (user)", "inserted"),
    _a_removed_message: ("message 2 (user)", "removed"),
    _an_edited_message: ("message 2 (user)", "edited"),
    _an_edited_system_prompt: ("system prompt", "edited"),
    _an_unchanged_prompt_that_is_not_read: None,
}


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.__name__[1:])
@pytest.mark.parametrize("seed", range(5))
def test_a_break_is_named_with_its_place_and_price(change: Callable[[Session], None], seed: int) -> None:
    """The last call names the first change, and the tokens that are paid again are those of the earlier request."""
    session = started(seed)
    change(session)

    last = last_fault(session)

    found = None if last.change is None else (last.change.region, last.change.cause)
    assert found == BREAKS[change]
    assert last.earlier.usage is not None
    assert 0.8 * last.earlier.usage[0] < last.lost_tokens <= last.earlier.usage[0]
    assert f"{last.lost_tokens:,} of" in str(last)


def test_the_excerpts_show_the_changed_words() -> None:
    """The changed words stand at the end of the excerpts, old and new."""
    session = started()
    _a_time_in_the_system_prompt(session)

    assert isinstance(change := last_fault(session).change, Change)
    assert (change.old, change.new) == ("It is 2026-11-02 09:01.", "It is 2026-11-02 09:02.")


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("2026-11-02T09:01:22.5+01:00", "2026-11-03T10:11:12.25+01:00", "a time"),
        ("Monday, November 2", "Tuesday, November 3", "a time"),
        ("November 2", "November 3", "a time"),
        ("2 Nov 2026", "3 Nov 2026", "a time"),
        ("9:41 PM", "10:02 AM", "a time"),
        ("1793610000.25", "1793610012.5", "a time"),
        ("session 8a1f0c2e-1111-4222-8333-444455556666", "session 9b1f0c2e-1111-4222-8333-444455556666", "an id"),
        ("balance 12.50", "balance 99", "a number"),
        ("gold customer", "silver customer", "edited"),
        ("in November 2", "in the autumn", "edited"),
    ],
)
def test_the_kind_of_the_changed_words_is_named(old: str, new: str, cause: str) -> None:
    """Times, ids and numbers in their usual forms are told from other text."""
    session = started()
    for words in (old, new):
        session.call(session.turn(), system=f"Note: {words}; {session.system}")

    assert isinstance(change := last_fault(session).change, Change)
    assert change.cause == cause


# --- no breaks -------------------------------------------------------------------------------------------------------


def _growing(session: Session) -> None:
    session.call(session.turn(), cached=0.85)


def _a_sub_agent_with_the_same_question(session: Session) -> None:
    question = session.turn()
    session.call(question, cached=0.85)
    session.call(question[-1:], system="You look up parcels. " + session.words(700), agent="parcel_finder")
    session.call(session.turn(), cached=0.85)


def _an_unnamed_sub_agent(session: Session) -> None:
    session.call(session.turn()[-1:], system="You look up parcels. " + session.words(700))


def _a_hand_over_of_the_history(session: Session) -> None:
    session.call(session.turn(), system="You decide on refunds. " + session.words(700), agent="refunds")


def _another_model(session: Session) -> None:
    session.call(session.turn(), model="claude-opus-5")


def _compaction(session: Session) -> None:
    session.turn()
    session.history = [{"role": "user", "content": "Summary so far: " + session.words(9)}, *session.history[-3:]]
    session.call(list(session.history))


def _expiry(session: Session) -> None:
    session.call(session.turn(), wait_s=900)


def _a_new_question(session: Session) -> None:
    session.history = []
    session.call(session.turn(), cached=0.85)


def _the_last_message_replaced(session: Session) -> None:
    history = session.turn(20)
    session.call([*history, {"role": "user", "content": "The page shows a form."}], cached=0.9)
    session.call([*session.turn(20), {"role": "user", "content": "The page shows a table."}], cached=0.9)


def _parallel_calls(session: Session) -> None:
    history = session.turn()
    session.call([*history, {"role": "user", "content": "Judge the price."}], cached=0.7, takes_s=30)
    session.call([*history, {"role": "user", "content": "Judge the tone."}], cached=0.7, wait_s=-29)


def _without_usage(session: Session) -> None:
    session.call(session.turn(), usage=False)


def _a_short_prompt(session: Session) -> None:
    for text in ("One.", "Two."):
        session.call([{"role": "user", "content": text}], system=f"Answer {text}", agent="tiny")


INTENDED: Final = (
    _growing, _a_sub_agent_with_the_same_question, _an_unnamed_sub_agent, _a_hand_over_of_the_history, _another_model,
    _compaction, _expiry, _a_new_question, _the_last_message_replaced, _parallel_calls, _without_usage, _a_short_prompt,
)  # fmt: skip


@pytest.mark.parametrize("going_on", INTENDED, ids=lambda going_on: going_on.__name__[1:])
@pytest.mark.parametrize("seed", range(5))
def test_a_conversation_without_a_break_raises_no_alarm(going_on: Callable[[Session], None], seed: int) -> None:
    """Compaction, other agents, other models, expiry and what stands at the end are no faults."""
    session = started(seed)
    going_on(session)

    assert cache_faults(session.traces) == []


def test_the_share_is_of_all_prompt_tokens() -> None:
    """The share is that of the tokens; without any count there is none."""
    session = Session()
    session.call(session.turn(), cached=0.0)
    session.call(session.turn(0), cached=1.0)

    share = cache_share(session.traces)

    assert share is not None
    assert 0.4 < share < 0.6
    assert cache_share([]) is None


def test_calls_of_later_traces_continue_those_of_earlier_ones() -> None:
    """A session is read as one sequence."""
    session = started()
    _a_time_in_the_system_prompt(session)
    traces = [TraceRecord({"trace_id": str(at), "spans": session.spans[at : at + 2]}) for at in range(0, 10, 2)]

    faults = cache_faults(traces)

    assert {fault.earlier.id for fault in faults} == {"m2", "m3"}


def test_a_repeated_history_is_read_once() -> None:
    """Of a long conversation, the newest 100 calls are compared; twice as many messages take at most three times as
    long.
    """
    taken: list[float] = []
    for turns in (250, 500):
        session = Session()
        for _ in range(turns):
            session.call(session.turn(words=3))
        assert len(cache_faults(session.traces)) == 99
        taken.append(cpu_seconds(partial(cache_faults, session.traces), rounds=2))
    assert taken[1] < max(3 * taken[0], 0.75), taken


def test_odd_spans_are_read_without_an_error() -> None:
    """Inputs that are no conversations, foreign tools and counts of the wrong type raise nothing."""
    odd: list[Any] = [None, "text", 3, [1, 2], {"messages": [3, None, {"role": 4}]}, {"messages": "x"}]
    usage = {"prompt_tokens": 9e3, "cache_read_tokens": "9"}
    spans = [
        {"kind": "LLM", "input": each, "metadata": {"tools": tools}, "token_usage": usage}
        for each in odd for tools in (None, "x", [None, 3])
    ]  # fmt: skip
    assert cache_faults([TraceRecord({"spans": spans * 2})]) == []


def test_the_command_line_the_page_and_the_overview_show_a_fault(tmp_path: Path) -> None:
    """A stored trace with a time in its system prompt says so wherever it is read."""
    session = started()
    _a_time_in_the_system_prompt(session)
    body = {"trace_id": str(UUID(int=7)), "name": "shop", "started_at": START.isoformat(), "spans": session.spans}
    for span in session.spans:
        span["span_id"] = str(UUID(int=1000 + int(span["span_id"][1:]) + 100 * (span["kind"] == "LLM")))
        if "parent_span_id" in span:
            span["parent_span_id"] = str(UUID(int=int(UUID(span["span_id"])) - 100))
        span.setdefault("ended_at", span["started_at"])
        if span.get("token_usage"):
            span["token_usage"]["total_tokens"] = span["token_usage"]["prompt_tokens"] + 9

    with LocalServer() as server:
        environment = {**clean_environment(tmp_path), **server.environment("shop")}
        headers = {"x-api-key": server.api_key, "x-project-name": "shop"}
        assert httpx.post(f"{server.url}/traces", json=body, headers=headers).status_code == 202
        get = ("traces", "get", str(body["trace_id"]), "--wait", "10")
        shown = [run_here(*get, environment=environment).stdout]
        shown.append(run_here(*get, "--budget", "3000", environment=environment).stdout)
        with httpx.Client(base_url=server.url, follow_redirects=True) as browser:
            shown.append(browser.get(f"/ui/traces/{body['trace_id']}", params={"project": "shop"}).text)

    assert ["system prompt: a time" in " ".join(text.split()) for text in shown] == [True] * 3
