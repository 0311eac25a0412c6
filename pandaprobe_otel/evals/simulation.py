"""Simulated users who talk to an agent in many turns, traced as one session, until a goal or a limit."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import closing, contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import attach, detach, get_current

from pandaprobe_otel.capture.factories import start_trace
from pandaprobe_otel.capture.trace_context import values_alone
from pandaprobe_otel.evals.local_judge import LocalJudge
from pandaprobe_otel.evals.personas import Conversation, End, Ended, Persona, persona_of
from pandaprobe_otel.evals.recorder import RECORDER, Recording
from pandaprobe_otel.evals.span_set import Budget
from pandaprobe_otel.evals.verdicts import whole

if TYPE_CHECKING:
    from pandaprobe_otel.evals.local_judge import Model

Agent = Callable[[str], Any] | Callable[[str, Conversation], Any]
"""The agent under test: a function or coroutine function of the message, or of the message and the conversation so far.
"""

_Steps = Generator[Any, Any, Conversation]
_Wait = Callable[[Awaitable[Any]], Coroutine[Any, Any, Any]]
_MOST: Final = 8_000
"""Maximum number of characters of an exception. A service may answer an error with a whole page."""


class PersonaError(Exception):
    """Error of a simulated user that gave no message. The agent is not at fault."""


class Simulation:
    """Conversations of simulated users with an agent.

    agent: takes the user's message and returns the answer. With a second parameter, it gets the `Conversation`, whose
    `session` identifies it and whose `messages` end with this message.
    model: plays personas that are described in words. A name such as `openai/gpt-4o-mini`, a `LocalJudge`, or a
    function that takes a prompt and returns the answer. Scripts need no model.
    turns: the maximum number of a user's messages.
    tokens, cost, seconds, llm_calls: the agent's limits in one conversation, checked after each turn.
    seed: the seed of the personas' random choices.
    name: the name of the traces. Default: that of the agent.

    Raises ValueError for invalid arguments.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        model: str | Model | None = None,
        turns: int = 10,
        tokens: int | None = None,
        cost: float | None = None,
        seconds: float | None = None,
        llm_calls: int | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        whole(turns=turns)
        self._takes_conversation = _takes_conversation(agent)
        self._agent = agent
        self._model = LocalJudge(model) if isinstance(model, str) else model
        self._turns = turns
        self._budget = Budget(tokens=tokens, cost=cost, seconds=seconds, llm_calls=llm_calls)
        self._seed = seed
        self.__name__ = name or str(getattr(agent, "__name__", "simulation"))

    def __call__(self, user: Any, conversation: Conversation | None = None) -> Conversation:
        """Let a user talk to the agent, and return the conversation.

        user: a description, a list of messages, a mapping (see `persona_of`), or a persona.
        conversation: a new conversation. Default: `begin()`.

        Raises PersonaError if the simulated user gives no message, and the agent's exceptions.
        """
        with closing(asyncio.Runner()) as runner:  # All turns share one loop, since clients may be bound to it.
            driven = self._driven(user, conversation, partial(_waited, runner))
            try:
                driven.send(None)  # It never suspends.
            except StopIteration as done:
                return cast("Conversation", done.value)
        raise RuntimeError("the conversation was suspended")

    async def run_async(self, user: Any, conversation: Conversation | None = None) -> Conversation:
        """Asynchronous counterpart of a call, for code inside a running event loop."""
        return await self._driven(user, conversation, _awaited)

    def begin(self, name: str = "") -> Conversation:
        """Return a new conversation. Its persona's random choices depend on the seed and this name."""
        return Conversation(random=random.Random(f"{self._seed} {name}"))

    def persona(self, user: Any) -> Persona:
        """Return the simulated user for a value. Raises ValueError for an invalid value."""
        return persona_of(user, self._model)

    # -- turns --------------------------------------------------------------------------------------------------------

    async def _driven(self, user: Any, conversation: Conversation | None, wait: _Wait) -> Conversation:
        """Make the turns, in which `wait` waits for the agent and the persona."""
        steps = self._steps(self.persona(user), conversation or self.begin())
        try:
            step = next(steps)
            while True:
                try:
                    got = await wait(step) if inspect.isawaitable(step) else step
                except Exception as error:  # noqa: BLE001 - raised where it was yielded, whose blocks note it
                    step = steps.throw(error)
                else:
                    step = steps.send(got)
        except StopIteration as done:
            return cast("Conversation", done.value)
        finally:
            steps.close()

    def _steps(self, persona: Persona, conversation: Conversation) -> _Steps:
        """Yield the calls of the agent and the persona, and receive their results."""
        with _recording() as recording:
            while (message := (yield from self._message(persona, conversation))) is not None:
                if (bound := self._bound(conversation, recording)) is not None:
                    conversation.end(*bound)
                    break
                conversation.messages.append({"role": "user", "content": message})
                answer = yield from self._answer(message, conversation, recording)
                conversation.messages.append({"role": "assistant", "content": answer})
        return conversation

    def _message(self, persona: Persona, conversation: Conversation) -> Generator[Any, Any, str | None]:
        """Ask for the next message. None: the user has no more messages, and the reason is set."""
        try:
            said: object = yield persona(conversation)
            if not isinstance(said, str | End):
                raise TypeError(f"it returned {said!r}, which is neither a text nor an End")
        except Exception as error:
            conversation.end(Ended.FAILED, f"the simulated user gave no message: {failure_text(error)}")
            raise PersonaError(conversation.reason) from error
        if not isinstance(said, End):
            return said
        kind = {True: Ended.GOAL, False: Ended.GAVE_UP, None: Ended.DONE}[said.reached]
        conversation.end(kind, said.reason)
        return None

    def _answer(self, message: str, conversation: Conversation, recording: Recording) -> Generator[Any, Any, Any]:
        """Ask the agent, in a trace of its own."""
        token = attach(recording.applied_to(values_alone(get_current())))
        handle = start_trace(
            self.__name__,
            input=message,
            session_id=conversation.session,
            metadata={"turn": conversation.turns, "simulated": True},
        )
        agent = cast("Any", self._agent)
        try:
            with handle:
                conversation.trace_ids.append(handle.trace_id)
                answer = yield agent(message, conversation) if self._takes_conversation else agent(message)
                handle.set_output(answer)
        except Exception as error:
            conversation.end(Ended.FAILED, failure_text(error))
            raise
        finally:
            detach(token)
        return answer

    def _bound(self, conversation: Conversation, recording: Recording) -> tuple[Ended, str] | None:
        """Return the limit that is reached; None if there is none."""
        if self._budget != Budget():
            traces = [trace for trace in recording.traces() if trace.session_id == conversation.session]
            if over := self._budget.over(traces):
                return Ended.BUDGET, "; ".join(over)
        if conversation.turns >= self._turns:
            return Ended.TURNS, f"{self._turns} turns is the limit"
        return None


@contextmanager
def _recording() -> Generator[Recording]:
    """Yield the recording of the current test or case, or a new one."""
    RECORDER.attach(create=True)
    if (current := RECORDER.recording()) is not None:
        yield current
        return
    own = Recording()
    try:
        yield own
    finally:
        own.close()


def _takes_conversation(agent: Agent) -> bool:
    try:
        signature = inspect.signature(agent)
    except (ValueError, TypeError):  # Some functions written in C have no signature.
        return False
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ValueError("the agent must accept agent(message) or agent(message, conversation)")


async def _waited(runner: asyncio.Runner, step: Awaitable[Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return runner.run(_awaited(step), context=copy_context())
    if inspect.iscoroutine(step):
        step.close()
    raise RuntimeError("an event loop is already running: use await simulation.run_async(...)")


async def _awaited(step: Awaitable[Any]) -> Any:
    return await step


def failure_text(error: BaseException) -> str:
    """Return the name of an exception and its text."""
    return f"{type(error).__name__}: {text_of_error(error)}"


def text_of_error(error: BaseException) -> str:
    """Return the text of an exception, truncated if it is long."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever an app's own exception does there
        return "(its text cannot be read)"
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
