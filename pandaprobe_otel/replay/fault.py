"""Faults of a replayed run: a model call or a tool fails as it would in production, and the program has to recover.

`recording(path, faults=[fault.timeout(tool="refund_order"), fault.http(429, call=2)])` plays a cassette back, except
that the second model call is answered with 429 and the tool times out. The program meets both through its real client
and its real tools. The cassette stays unchanged.

Model calls have the numbers of the cassette. A recorded answer is not used up by a fault, so a retry gets it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.client import responses
from typing import Any, Final, Literal

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols.conversation import Message, mapping
from pandaprobe_otel.protocols.encoding import JSON, json_bytes
from pandaprobe_otel.protocols.protocol import Protocol
from pandaprobe_otel.protocols.scripted import Reply, ToolCall, answer_of
from pandaprobe_otel.replay.body_units import events_of
from pandaprobe_otel.replay.compared_requests import body_in, parsed
from pandaprobe_otel.replay.interactions import Interaction, RecordedAnswer, RecordedRequest
from pandaprobe_otel.replay.interactions import ToolCall as RecordedTool

__all__ = ["Fault", "Model", "Reply", "ToolCall", "empty", "error", "http", "timeout", "truncated"]

Kind = Literal["timeout", "http", "truncated", "empty", "error"]
Model = Callable[[Sequence[Message]], Reply | str]
"""A scripted model: returns the reply, or its text, to the messages of a request in the form of chat completions."""
_TIMEOUT: Final = "ReadTimeout"
_LOST: Final = "RemoteProtocolError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault at one place of a replayed run.

    Attributes:
        call: The number of a model call in the cassette; with `tool`, the number of a call of that tool.
        tool: The name of a tool; None for a model call.
        times: How many attempts meet it.
        status: The HTTP status of `http`.
        raises: The exception of a tool.
    """

    kind: Kind
    call: int
    tool: str | None = None
    times: int = 1
    status: int = 0
    raises: BaseException | None = None

    def __post_init__(self) -> None:
        """Check the place. Raises RecordingError."""
        if self.call < 1 or self.times < 1:
            raise RecordingError(f"{self}: calls and times count from 1.")

    def __str__(self) -> str:
        kind = f"http {self.status}" if self.kind == "http" else self.kind
        times = "" if self.times == 1 else f", {self.times} times"
        return f"{kind} at {'model' if self.tool is None else self.tool} call {self.call}{times}"


def timeout(*, call: int | None = None, tool: str | None = None, times: int = 1) -> Fault:
    """Return the fault of a model call or a tool that takes too long.

    A client of models raises its own timeout, after its retries; a tool raises TimeoutError and does not run.

    Args:
        call: The number of a model call in the cassette. With `tool`, the number of a call of that tool, by default 1.
        tool: The name of a tool.
        times: How many attempts meet the fault. A client retries once or more, so one fault is often not noticed.
    """
    return Fault(kind="timeout", call=_number("timeout", call, tool), tool=tool, times=times)


def http(status: int, *, call: int, times: int = 1) -> Fault:
    """Return the fault of a model call that is answered with an HTTP error: a `status` from 400 to 599."""
    if not 400 <= status <= 599:
        raise RecordingError(f"fault.http({status}): the status must be from 400 to 599.")
    return Fault(kind="http", call=call, times=times, status=status)


def truncated(*, call: int, times: int = 1) -> Fault:
    """Return the fault of a model call whose connection breaks in the middle of the answer."""
    return Fault(kind="truncated", call=call, times=times)


def empty(*, call: int | None = None, tool: str | None = None, times: int = 1) -> Fault:
    """Return the fault of a model that answers with an empty text, or of a tool that finds nothing.

    The tool does not run. Its result is the recorded one without content (`""`, `[]` or `{}`), or else None.
    """
    return Fault(kind="empty", call=_number("empty", call, tool), tool=tool, times=times)


def error(raises: BaseException | None = None, *, tool: str, call: int = 1, times: int = 1) -> Fault:
    """Return the fault of a tool that raises an exception, by default a RuntimeError, and does not run."""
    return Fault(kind="error", call=call, tool=tool, times=times, raises=raises)


def _number(name: str, call: int | None, tool: str | None) -> int:
    if call is None and tool is None:
        raise RecordingError(f"fault.{name}() needs call= (the number of a model call) or tool= (a name).")
    return 1 if call is None else call


class Faults:
    """The faults of one run, and how often each was met. Thread-safe."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = tuple(faults)
        self._lock = threading.Lock()
        self._met: Counter[Fault] = Counter()
        self._tool_calls: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._faults)

    @property
    def met(self) -> Sequence[Fault]:
        """The faults that the program has met so far."""
        return [one for one in self._faults if self._met[one]]

    @property
    def missed(self) -> Sequence[Fault]:
        """The faults that the program has not met."""
        return [one for one in self._faults if not self._met[one]]

    def at(self, interaction: Interaction) -> Interaction | None:
        """Return what answers an attempt at a recorded call instead; None if no fault is left for it."""
        one = self._meet(lambda one: one.tool is None and one.call == interaction.call)
        return None if one is None else replace(interaction, answer=_answer(one, interaction))

    def at_tool(self, name: str, recorded: Sequence[RecordedTool]) -> RecordedTool | BaseException | None:
        """Return the result or the exception of a tool call instead; None if no fault is left for it.

        Args:
            name: The name of the tool.
            recorded: Its calls in the cassette.
        """
        with self._lock:
            self._tool_calls[name] += 1
            number = self._tool_calls[name]
        one = self._meet(lambda one: one.tool == name and one.call <= number)
        return None if one is None else _outcome(one, recorded)

    def _meet(self, fits: Callable[[Fault], bool]) -> Fault | None:
        """Return the first fault that fits and is left, and count it."""
        with self._lock:
            for one in self._faults:
                if self._met[one] < one.times and fits(one):
                    self._met[one] += 1
                    return one
        return None


def _outcome(fault: Fault, recorded: Sequence[RecordedTool]) -> RecordedTool | BaseException:
    name = str(fault.tool)
    if fault.kind == "timeout":
        return TimeoutError(f"the tool {name} took too long")
    if fault.kind == "error":
        return fault.raises or RuntimeError(f"the tool {name} failed")
    known: Any = next((one.result for one in recorded if one.result is not None), None)
    kind = type_of(known)
    return RecordedTool(name, {}, result=kind() if kind in (str, list, dict) else None)


def _answer(fault: Fault, interaction: Interaction) -> RecordedAnswer:
    """Return the answer that a fault gives to a request of the program."""
    request, answer = interaction.request, interaction.answer
    if fault.kind == "timeout":
        return RecordedAnswer(status=0, end="broken", error=_TIMEOUT, fault=f"injected fault.{fault}")
    if fault.kind == "truncated":
        return replace(_first_half(answer), fault=f"injected fault.{fault}")
    if fault.kind == "empty":
        return scripted_answer(request, lambda _: "", number=interaction.call)
    return _refusal(fault.status, request)


def _first_half(answer: RecordedAnswer) -> RecordedAnswer:
    events = events_of(answer.body, answer.headers.get("content-type", ""))
    kept = b"".join(events[: len(events) // 2]) or answer.body[: len(answer.body) // 2]
    return replace(answer, body=kept, end="broken", error=_LOST)


def _refusal(status: int, request: RecordedRequest) -> RecordedAnswer:
    phrase = responses.get(status, "Error")
    protocol = parsed(request).wire
    said = {"error": {"message": phrase}} if protocol is None else protocol.refusal(status, phrase)
    return RecordedAnswer(status=status, reason=phrase, headers={"content-type": JSON}, body=json_bytes(said))


def scripted_answer(request: RecordedRequest, model: Model, *, number: int) -> RecordedAnswer:
    """Return the answer of a scripted model, in the form of the request's protocol.

    Raises RecordingError for a request that is no chat of a known protocol.
    """
    found = parsed(request)
    protocol: Protocol | None = found.wire
    if protocol is None or found.operation not in protocol.chat_operations:
        where = request.uri.partition("?")[0]
        raise RecordingError(f"No scripted model can answer {request.method} {where}: it is no known chat request.")
    body = mapping(body_in(request))
    try:
        made = answer_of(lambda messages: _reply(model(messages)), found, body, number=number)
    except ValueError as error:
        raise RecordingError(f"No scripted model can answer this request. {error}") from error
    whole = protocol.write_answer(made.answer)
    if not found.is_stream:
        return RecordedAnswer(status=200, reason="OK", headers={"content-type": JSON}, body=json_bytes(whole))
    stream = b"".join(protocol.write_stream(whole))
    return RecordedAnswer(status=200, reason="OK", headers={"content-type": protocol.streamed_as}, body=stream)


def _reply(given: Reply | str) -> Reply:
    return Reply(text=given) if isinstance(given, str) else given
