"""A conversation of a simulated user with an agent: what was said, and how it ended."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pandaprobe_otel.evals.judging import Judgement
from pandaprobe_otel.mapping.clean import encode

if TYPE_CHECKING:
    from pandaprobe_otel.evals.task_runs import TaskRun


class Ended(StrEnum):
    """Why a conversation is over."""

    GOAL = "goal"
    """The user has what they came for."""
    GAVE_UP = "gave up"
    """The user had a goal, and went without it."""
    DONE = "done"
    """The user had no goal, and nothing more to say."""
    TURNS = "turns"
    """The number of turns reached its limit."""
    BUDGET = "budget"
    """More was used than allowed."""
    FAILED = "failed"
    """The agent raised an exception, or the simulated user gave no message."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The messages so far; personas and agents are shown them."""

    session: str = field(default_factory=lambda: f"simulated-{uuid.uuid4()}")
    """The session that its traces are in."""
    random: random.Random = field(default_factory=random.Random, repr=False)
    """The source of a persona's choices: the same for the same seed."""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """`{"role": "user", "content": ...}` and `{"role": "assistant", ...}`, in turn."""
    trace_ids: list[str] = field(default_factory=list[str])
    """Of its traces in PandaProbe, one for each turn."""
    ended: Ended | None = None
    """None while it goes on."""
    reason: str = ""
    """The same in words."""

    @property
    def turns(self) -> int:
        """The number of messages of the user."""
        return sum(message["role"] == "user" for message in self.messages)

    @property
    def last(self) -> Any:
        """The last message of the agent; None before there is one."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "assistant"), None)

    @property
    def reached(self) -> bool:
        """True where the user has what they came for."""
        return self.ended is Ended.GOAL

    @property
    def text(self) -> str:
        """All of it, to be read."""
        return "\n".join(f"{message['role']}: {text_of(message['content'])}" for message in self.messages)

    def end(self, ended: Ended, reason: str) -> None:
        """Note that it is over, and why."""
        self.ended, self.reason = ended, reason

    def to_list(self) -> list[dict[str, Any]]:
        """Return what was said, as it is shown in reports: with the end as a last entry."""
        return [*self.messages, {"role": "end", "content": f"{self.ended}: {self.reason}"}]


def text_of(value: Any) -> str:
    """Return what was said as text."""
    return value if isinstance(value, str) else json.dumps(json.loads(encode(value)), ensure_ascii=False)


def goal_reached(run: TaskRun) -> Judgement:
    """Metric of conversations: 1 where the user has what they came for. One who had no goal is no evidence."""
    conversation = run.conversation
    if conversation is None or conversation.ended in (None, Ended.DONE):
        return Judgement.vacuous("there was no goal")
    if conversation.ended is Ended.FAILED:
        return Judgement.error(conversation.reason)
    turns = f"after {conversation.turns} turn{'' if conversation.turns == 1 else 's'}"
    return Judgement.scored(float(conversation.reached), f"{conversation.ended} {turns}: {conversation.reason}")
