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
    """The user reached their goal."""
    GAVE_UP = "gave up"
    """The user left without reaching their goal."""
    DONE = "done"
    """The user had no goal, and no more messages."""
    TURNS = "turns"
    """The number of turns reached its limit."""
    BUDGET = "budget"
    """The conversation exceeded its budget."""
    FAILED = "failed"
    """The agent raised an exception, or the simulated user gave no message."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The messages so far; personas and agents are shown them."""

    session: str = field(default_factory=lambda: f"simulated-{uuid.uuid4()}")
    """The session of its traces."""
    random: random.Random = field(default_factory=random.Random, repr=False)
    """The source of a persona's choices: the same for the same seed."""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """`{"role": "user", "content": ...}` and `{"role": "assistant", ...}`, in turn."""
    trace_ids: list[str] = field(default_factory=list[str])
    """Ids of its traces in PandaProbe, one for each turn."""
    ended: Ended | None = None
    """The reason why it is over; None before."""
    reason: str = ""
    """The reason in words."""

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
        """True if the user reached their goal."""
        return self.ended is Ended.GOAL

    @property
    def text(self) -> str:
        """The whole conversation, as text."""
        return "\n".join(f"{message['role']}: {text_of(message['content'])}" for message in self.messages)

    def end(self, ended: Ended, reason: str) -> None:
        """Note that it is over, and why."""
        self.ended, self.reason = ended, reason

    def to_list(self) -> list[dict[str, Any]]:
        """Return the messages as reports show them, with the end as a last entry."""
        return [*self.messages, {"role": "end", "content": f"{self.ended}: {self.reason}"}]


def text_of(value: Any) -> str:
    """Return the messages as text."""
    return value if isinstance(value, str) else json.dumps(json.loads(encode(value)), ensure_ascii=False)


def goal_reached(run: TaskRun) -> Judgement:
    """Score a conversation: 1 if the user reached their goal. A user without a goal is no evidence."""
    conversation = run.conversation
    if conversation is None or conversation.ended in (None, Ended.DONE):
        return Judgement.vacuous("there was no goal")
    if conversation.ended is Ended.FAILED:
        return Judgement.error(conversation.reason)
    turns = f"after {conversation.turns} turn{'' if conversation.turns == 1 else 's'}"
    return Judgement.scored(float(conversation.reached), f"{conversation.ended} {turns}: {conversation.reason}")
