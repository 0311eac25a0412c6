"""Conversation of a simulated user with an agent: its messages, and the reason for its end."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pandaprobe_otel.evals.verdicts import Judgement
from pandaprobe_otel.mapping.clean import encode

if TYPE_CHECKING:
    from pandaprobe_otel.evals.task_runs import TaskRun


class Ended(StrEnum):
    """Reason for the end of a conversation."""

    GOAL = "goal"
    """The user reached their goal."""
    GAVE_UP = "gave up"
    """The user left without reaching their goal."""
    DONE = "done"
    """The user had no goal and no further message."""
    TURNS = "turns"
    """The conversation reached the limit of turns."""
    BUDGET = "budget"
    """The conversation exceeded its budget."""
    FAILED = "failed"
    """The agent raised an exception, or the simulated user gave no message."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """Messages of a conversation so far, as personas and agents receive them."""

    session: str = field(default_factory=lambda: f"simulated-{uuid.uuid4()}")
    """Session id of its traces."""
    random: random.Random = field(default_factory=random.Random, repr=False)
    """Random generator of the persona's choices. The same seed gives the same choices."""
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Alternating messages: `{"role": "user", "content": ...}` and `{"role": "assistant", ...}`."""
    trace_ids: list[str] = field(default_factory=list[str])
    """Ids of its traces in PandaProbe, one for each turn."""
    ended: Ended | None = None
    """Reason for the end; None before the end."""
    reason: str = ""
    """Details about `ended`."""

    @property
    def turns(self) -> int:
        """The number of the user's messages."""
        return sum(message["role"] == "user" for message in self.messages)

    @property
    def last(self) -> Any:
        """The agent's last message; None before the first one."""
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
        """Set the reason for the end, with details."""
        self.ended, self.reason = ended, reason

    def to_list(self) -> list[dict[str, Any]]:
        """Return the messages for reports, with the reason for the end as a last entry."""
        return [*self.messages, {"role": "end", "content": f"{self.ended}: {self.reason}"}]


def text_of(value: Any) -> str:
    """Return the messages as text."""
    return value if isinstance(value, str) else json.dumps(json.loads(encode(value)), ensure_ascii=False)


def goal_reached(run: TaskRun) -> Judgement:
    """Score 1 if the user reached their goal, otherwise 0. A user without a goal gives no evidence."""
    conversation = run.conversation
    if conversation is None or conversation.ended in (None, Ended.DONE):
        return Judgement.vacuous("the user had no goal")
    if conversation.ended is Ended.FAILED:
        return Judgement.error(conversation.reason)
    turns = f"after {conversation.turns} turn{'' if conversation.turns == 1 else 's'}"
    return Judgement.scored(float(conversation.reached), f"{conversation.ended} {turns}: {conversation.reason}")
