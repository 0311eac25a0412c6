"""Recording of a fork: part of a cassette is played back; the rest is sent and saved in a new cassette.

The cut: calls that had ended before a span began are played back; later calls are made again. Calls have no single
order, so branches that ran beside the span may be played back too, as long as their requests stay the same. A branch
that receives a live answer makes other requests, which are sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.protocols.anthropic import INVENTED_SIGNATURE
from pandaprobe_otel.protocols.encoding import dump_bytes
from pandaprobe_otel.protocols.protocol import ParsedRequest
from pandaprobe_otel.replay.call_order import Caller
from pandaprobe_otel.replay.cassette_script import Script
from pandaprobe_otel.replay.compared_requests import body_in, messages_in, parsed
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.exchange import Exchange
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.recording import Recording, RecordingOptions
from pandaprobe_otel.traces.json_shapes import list_in, members, object_in

_STEP = " > "
_ORDINAL = re.compile(r" \(\d+(?:st|nd|rd|th)\)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A cassette without the calls that are made again.

    Attributes:
        kept: The calls that are played back.
        before: Numbers of the calls that had ended before the span began. All of them must be made before anything is
            sent.
        gone: Numbers of the recorded calls that are not played back.
        first: The earliest of the calls that are not played back; None if there are none.
    """

    kept: Cassette
    before: frozenset[int]
    gone: tuple[int, ...] = ()
    first: Interaction | None = None


def whole(cassette: Cassette) -> Cut:
    """Return the cut that plays back everything: the recorded run itself."""
    return Cut(kept=cassette, before=frozenset(one.call for one in cassette.interactions))


def cut_from(cassette: Cassette, span: str | None) -> Cut:
    """Return the cut at a span. Without a span, no model call is played back.

    Args:
        cassette: The recorded run.
        span: The path of a span (`shop > search (2nd)`), a unique name, or the number of a call.

    Raises RecordingError if the span matches no recorded call or several spans.
    """
    if span is None:
        return _cut(cassette, {one.call for one in cassette.interactions})
    return _cut(cassette, _calls_of(cassette, span))


def _calls_of(cassette: Cassette, span: str) -> set[int]:
    """Return the calls that were made inside a span."""
    if span.isdecimal():
        numbers = {one.call for one in cassette.interactions} & {int(span)}
        if not numbers:
            raise RecordingError(f"there is no call {span}: the recording has {len(cassette.interactions)}.")
        return numbers
    wanted = span.split(_STEP)
    places: dict[str, set[int]] = {}
    for one in cassette.interactions:
        found = _place_in(one.at.split(_STEP), wanted)
        if found is not None:
            places.setdefault(found, set()).add(one.call)
    if len(places) > 1:
        names = "; ".join(one if _ORDINAL.search(one) else f"{one} (1st)" for one in sorted(places)[:8])
        raise RecordingError(f"{span!r} is the name of several spans: {names}. Name one of them.")
    if not places:
        known = sorted({one.at or f"call {one.call}" for one in cassette.interactions})
        raise RecordingError(f"no recorded call was made inside {span!r}. Spans with calls: {'; '.join(known[:8])}.")
    return next(iter(places.values()))


def _place_in(at: list[str], wanted: list[str]) -> str | None:
    """Return the path to the requested span, if it is on the path to a call."""
    for end in range(len(wanted), len(at) + 1):
        if all(map(_is_called, at[end - len(wanted) : end], wanted)):
            return _STEP.join(at[:end])
    return None


def _is_called(step: str, wanted: str) -> bool:
    """Return whether a step of a path has this name. A name without an ordinal matches all spans of that name."""
    return wanted in (step, _ORDINAL.sub("", step), f"{step} (1st)")


def _cut(cassette: Cassette, chosen: Collection[int]) -> Cut:
    """Return the cut without these calls, and without the calls that had waited for one of them."""
    above = _waited_for(cassette)
    gone = {number for number, others in above.items() if number in chosen or not others.isdisjoint(chosen)}
    kept = tuple(one for one in cassette.interactions if one.call not in gone)
    first = min((one for one in cassette.interactions if one.call in chosen), key=lambda one: one.call, default=None)
    before = frozenset[int]() if first is None else above[first.call] - gone
    return Cut(kept=replace(cassette, interactions=kept), before=before, gone=tuple(sorted(gone)), first=first)


def _waited_for(cassette: Cassette) -> dict[int, frozenset[int]]:
    """Return for each call the calls that had ended before it began."""
    above: dict[int, frozenset[int]] = {}
    for one in sorted(cassette.interactions, key=lambda one: one.call):
        nearest = [number for number in one.after if number in above]
        above[one.call] = frozenset(nearest).union(*(above[number] for number in nearest))
    return above


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunOptions:
    """Options of a rerun.

    Attributes:
        span: The span of the cut; None: all calls are sent.
        live_tools: Names of tools that may run. All others are only played back.
        ignore: Parts in which requests may differ from the recorded ones.
    """

    span: str | None = None
    model: str | None = None
    prompt: str | None = None
    repeat: int = 1
    live_tools: Collection[str] = ()
    ignore: tuple[Any, ...] = ()


class ForkedRecording(Recording):
    """`recording()` of a fork, which plays back one part and sends the other; `path` gets both."""

    def __init__(self, path: Path, cut: Cut, fork: RerunOptions) -> None:
        super().__init__(RecordingOptions(path=path, mode="new", tools=True, ignore=fork.ignore))
        self._cut = cut
        self._fork = fork
        self._has_changed = False

    @property
    def divergence(self) -> Divergence | None:
        """The first request before the cut that differs from the recorded one."""
        return None if self._script is None else self._script.divergence

    def _read(self) -> None:
        """Load the part that the cut kept. Live calls get numbers that no recorded call has."""
        self._old = self._cut.kept
        self._script = Script(_in_any_order(self._old), ignore=self._options.ignore)
        numbers = [*(one.call for one in self._old.interactions), *self._cut.gone]
        self._next_number = max(numbers, default=0) + 1

    def check(self) -> None:
        """Raise the failure of the run, or an error if the program has not reached the cut."""
        super().check()
        unused = None if self._script is None else self._script.never_made(among=self._cut.before)
        if unused is not None:
            raise unused
        if self._cut.gone and not self._has_changed and (self._fork.model or self._fork.prompt):
            raise RecordingError(
                "nothing was changed: no sent request has the model or the prompt of the first recorded call that is "
                "not replayed."
            )

    def write(self) -> None:
        """Write the cassette of the fork. The recorded run itself is not written again."""
        if self._cut.gone:
            super().write()

    def begin(self, sent: RecordedRequest) -> Exchange:
        """Return the exchange of a request. The sent request may differ from the program's."""
        exchange = super().begin(sent)
        if exchange.played is not None:
            return exchange
        like = None if self._cut.first is None else self._cut.first.request
        try:
            if INVENTED_SIGNATURE.encode() in sent.body:
                raise RecordingError(
                    "a request repeats a thought whose signature the trace does not have, and services refuse an "
                    "invented one. Start at an earlier span, or fork a trace made with init(replayable=True)."
                )
            exchange.instead = _overridden(sent, like=like, model=self._fork.model, prompt=self._fork.prompt)
        except RecordingError as error:
            exchange.failed(error)
            self.fail(error)
        if exchange.instead is not None:
            self._has_changed = True
            exchange.request = self._scrubber.request(exchange.instead)
        return exchange

    def tool_answer(self, name: str, arguments: Mapping[str, Any], call_id: str | None = None) -> ToolCall | None:
        """Return the recorded tool call; None if it may run. Raises Divergence or RecordingError."""
        assert self._script is not None
        made, caller = self._made_call(name, arguments, call_id), self._order.caller()
        known: ToolCall | None = self._script.take_known(made, at=made.at, caller=caller)
        if known is not None or name in self._fork.live_tools:
            return known
        if not self._is_past_the_cut(self._script):
            self._script.take(made, at=made.at, caller=caller)
        why = "was not recorded with these arguments, and running it could change something"
        return self.fail(RecordingError(f"the tool {name} {why}. --live-tools={name} lets it run."))

    def _answer(self, request: RecordedRequest, at: str, caller: Caller) -> tuple[Interaction | None, int]:
        assert self._script is not None
        known: Interaction | None = self._script.take_known(request, at=at, caller=caller)
        if known is None and not self._is_past_the_cut(self._script):
            return self._script.take(request, at=at, caller=caller), 0  # It shows the difference.
        return known, 0

    def _is_past_the_cut(self, script: Script) -> bool:
        return bool(self._cut.gone) and script.were_made(self._cut.before)


def _in_any_order(cassette: Cassette) -> Cassette:
    """Return the cassette of a trace without the order of its calls.

    A trace has times but no threads. A branch may have ended by chance before another one began.
    """
    if cassette.made_from is None:
        return cassette
    return replace(cassette, interactions=tuple(replace(one, after=()) for one in cassette.interactions))


# -- another model or system prompt in the requests that are sent ------------------------------------------------------

Body = dict[str, Any]

_OF_MODELS: Final[Mapping[str, re.Pattern[str]]] = {
    "anthropic": re.compile(r"claude-"),
    "gemini": re.compile(r"(gemini|gemma)-"),
    "openai": re.compile(r"(gpt-|chatgpt-|o\d(-|$)|text-embedding-)"),
    "cohere": re.compile(r"(command-|c4ai-)"),
}
"""Prefixes of models that their vendors serve through a protocol of their own."""
_MODEL_IN_PATH: Final = (
    re.compile(r"(?<=/models/)[^/:]+(?=:\w+$)"),  # Gemini, Vertex AI
    re.compile(r"(?<=/model/)[^/]+(?=/[\w-]+$)"),  # Bedrock
    re.compile(r"(?<=/deployments/)[^/]+(?=/)"),  # Azure
)
_PROMPTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "messages": ("system", str),
    "gemini": ("systemInstruction", lambda prompt: {"parts": [{"text": prompt}]}),
    "responses": ("instructions", str),
    "converse": ("system", lambda prompt: [{"text": prompt}]),
}
"""Field and form of the system prompt, by the names of protocols. In others, the prompt is the first message."""
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_SIGNED: Final = "AWS4-HMAC-SHA256"


def _overridden(
    request: RecordedRequest, *, like: RecordedRequest | None, model: str | None, prompt: str | None
) -> RecordedRequest | None:
    """Return the request to send in place of the program's; None to send that unchanged.

    Only requests with the model of the recorded request at the cut (`like`) get the new model, and only those with its
    prompt get the new prompt, since a program may have several of each. Raises RecordingError if a request cannot be
    changed: it is signed, or the new model uses another protocol.
    """
    if like is None or (model is None and prompt is None):
        return None
    read, other = map(parsed, (request, like))
    body = object_in(body_in(request))
    has_model = model is not None and read.model == other.model
    has_prompt = prompt is not None and _prompt_of(read) == _prompt_of(other)
    if body is None or read.protocol != other.protocol or not (has_model or has_prompt):
        return None
    if request.headers.get("authorization", "").startswith(_SIGNED):
        raise RecordingError("A request to AWS is signed and cannot be changed here: change the program.")
    if has_prompt:
        body = _with_prompt(read, body, str(prompt))
    if has_model:
        request, body = _with_model(request, body, str(model), read.protocol)
    return replace(request, body=dump_bytes(body))


def _prompt_of(request: ParsedRequest) -> Any:
    """Return the system prompt of a request: a text or its parts; None without one."""
    first, *_ = messages_in(request) or [{"role": None}]
    return first.get("content") if first["role"] in _SYSTEM_ROLES else None


def _with_model(request: RecordedRequest, body: Body, model: str, protocol: str) -> tuple[RecordedRequest, Body]:
    """Return a request to another model, which is named in the body, in the path, or in both.

    A model of another protocol is refused. Unknown names are accepted.
    """
    family = next((name for name, pattern in _OF_MODELS.items() if pattern.match(model)), None)
    if family is not None and protocol in _OF_MODELS and family != protocol:
        raise RecordingError(
            f"{model} needs the protocol {family}, but this program uses {protocol}. Change its client."
        )
    url = urlsplit(request.uri)
    path = url.path
    for pattern in _MODEL_IN_PATH:
        path = pattern.sub(quote(model, safe=""), path)
    if "model" in body or path == url.path:
        body = {**body, "model": model}
    return replace(request, uri=urlunsplit(url._replace(path=path))), body


def _with_prompt(request: ParsedRequest, body: Body, prompt: str) -> Body:
    """Return a body with another system prompt: in its field, or in place of the first message, or before it."""
    turns_name = request.turns or "messages"
    turns = list_in(body.get(turns_name)) or ()
    first = members(turns[0] if turns else None)
    is_message = first.get("role") in _SYSTEM_ROLES
    name, formed = _PROMPTS.get("" if request.wire is None else request.wire.name, ("", str))
    if name and (name in body or not is_message):
        return {**body, name: formed(prompt)}
    message = {**first, "content": prompt} if is_message else {"role": "system", "content": prompt}
    return {**body, turns_name: [message, *turns[is_message:]]}
