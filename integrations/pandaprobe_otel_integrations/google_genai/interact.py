"""`POST /interactions`: a call of a Gemini model or agent whose answer is a list of steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import ANSWERED, Attributes, Body, Endpoint, Service, Table, common, each
from pandaprobe_otel_integrations._json import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._openai_protocol.chat_messages import tool_definition
from pandaprobe_otel_integrations._other_members import reading, told, with_rest
from pandaprobe_otel_integrations._parts import Part, decoded_arguments
from pandaprobe_otel_integrations.google_genai.generate import billed, inline_blob, modality

_REASONS: Final = {"completed": "stop", "requires_action": "tool_call", "incomplete": "length"}
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "incomplete": ours.PARTIAL}
_MEDIA: Final = frozenset({"image", "audio", "video", "document"})


_STEP: Final = frozenset({"type", "summary", "signature"})
_MEDIUM: Final = frozenset({"type", "data", "uri", "mime_type"})


def _continue(step: dict[str, Any], delta: Object) -> None:
    kind = string(delta.get("type")) or ""
    if kind == "text" or kind.startswith("text_"):
        step["content"] = [*items(step.get("content")), delta]
    elif kind == "thought_summary":
        step["summary"] = [*items(step.get("summary")), obj(delta.get("content"))]
    elif kind == "arguments_delta":
        step["arguments"] = (string(step.get("arguments")) or "") + (string(delta.get("arguments")) or "")
    elif kind in _MEDIA:
        step["content"] = [*items(step.get("content")), delta]


def _input_messages(given: Any) -> list[Part]:
    if isinstance(given, str):
        return [{"role": "user", "parts": [parts.text(given)]}]
    found: list[Part] = []
    loose: list[Object] = []
    for one in objects(given) or ([obj(given)] if obj(given) else []):
        kind = string(one.get("type"))
        if kind in ("user_input", "model_output", "thought", "function_call", "function_result") or one.get("role"):
            role = "user" if kind == "user_input" else "tool" if kind == "function_result" else "assistant"
            if string(one.get("role")):
                role = "assistant" if one["role"] == "model" else str(one["role"])
            found.append({"role": role, "parts": _steps_parts([one])})
        else:
            loose.append(one)
    return [*found, {"role": "user", "parts": _steps_parts(loose)}] if loose else found


def _steps_parts(steps: Iterable[Object]) -> list[Part]:
    found: list[Part] = []
    for part in (part for step in steps for part in _step_parts(step)):
        last = found[-1] if found else {"type": None}
        if part["type"] in ("text", "reasoning") and last["type"] == part["type"] and len(part) == len(last) == 2:
            last["content"] += part["content"]
        else:
            found.append(part)
    return found


def _step_parts(step: Object) -> list[Part]:
    kind = string(step.get("type")) or ""
    if kind == "thought":
        summary = "".join(str(one.get("text") or "") for one in objects(step.get("summary")))
        return [with_rest(parts.reasoning(summary), step, _STEP)] if summary else []
    if kind in _READERS:
        return [_READERS[kind](step)]
    if kind in ("model_output", "user_input", "") and "content" in step:
        given = step["content"]
        return [parts.text(given)] if isinstance(given, str) else _steps_parts(objects(given))
    if not kind and "text" in step:
        return [_READERS["text"](step)]
    if kind in _MEDIA:
        return [_media(kind, step)]
    if kind.endswith("_call"):
        call = told(dict(step))
        return [parts.server_tool_call(id=step.get("id"), name=kind.removesuffix("_call"), call=call)]
    return [{**told(dict(step)), "type": kind}] if kind else []


def _call(call_id: Any, name: Any, arguments: Any) -> Part:
    return parts.tool_call(call_id, name, decoded_arguments(arguments) or {})


_READERS: Final = {
    "function_call": reading(_call, "id", "name", "arguments", beside={"type", "signature"}),
    "function_result": reading(parts.tool_response, "call_id", "result", beside={"type", "signature"}),
    "text": reading(parts.text_of, "text"),
}


def _media(kind: str, step: Object) -> Part:
    if step.get("data") is not None:
        return {**inline_blob(step), "modality": kind}
    mime_type = string(step.get("mime_type"))
    found = parts.media(str(step.get("uri") or ""), kind if kind != "document" else modality(mime_type))
    return with_rest({**found, "mime_type": mime_type} if mime_type else found, step, _MEDIUM)


_COUNTS: Final = Table(
    {
        "total_input_tokens": (names.INPUT_TOKENS, integer),
        "total_output_tokens": (names.OUTPUT_TOKENS, integer),
        "total_thought_tokens": (names.REASONING_TOKENS, integer),
        "total_cached_tokens": (names.CACHE_READ_TOKENS, integer),
    }
)
_TOOLS: Final = "total_tool_use_tokens"


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage. Tool results and reasoning are counted apart, and billed."""
    counts = obj(usage)
    return billed(_COUNTS.read(counts), counts.get(_TOOLS))


class Interactions(Endpoint):
    """Interactions, whole or streamed."""

    operation = "generate_content"
    service = Service(usage=usage_attributes, counted=_COUNTS.counts(_TOOLS, "total_tokens"))
    request = {
        **common("model", "stream"),
        "agent": (names.AGENT_NAME, string),
        "previous_interaction_id": (names.PREVIOUS_RESPONSE_ID, string),
        "generation_config": {
            **common("temperature", "top_p", "seed", "stop_sequences", max_output_tokens="max_tokens"),
            "thinking_level": (names.REASONING_LEVEL, string),
        },
    }
    input = {
        "system_instruction": (names.SYSTEM_INSTRUCTIONS, parts.texts),
        "input": (names.INPUT_MESSAGES, _input_messages),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = {**ANSWERED, "status": (names.RESPONSE_STATUS, string)}
    empty: ClassVar[Iterable[str]] = (
        "object", "agent", "steps", "outputs", "created", "updated", "role", "previous_interaction_id", "input",
        "system_instruction", "tools", "generation_config",
    )  # fmt: skip

    def response_attributes(self, body: Body) -> Attributes:
        """Return the attributes of the table, and whether the answer is whole."""
        return {**super().response_attributes(body), ours.OUTCOME: _OUTCOMES.get(string(body.get("status")) or "")}

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason by the status."""
        return _REASONS.get(string(choice.get("status")) or "")

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the steps."""
        return _steps_parts(objects(choice.get("steps")) or objects(choice.get("outputs")))

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events as one interaction."""
        merged: dict[str, Any] = {}
        steps: dict[int, dict[str, Any]] = {}
        for data in events:
            merged.update((key, value) for key, value in obj(data.get("interaction")).items() if value is not None)
            if data.get("event_type") == "error":
                merged["error"] = data.get("error")
            index: Any = data.get("index")
            if isinstance(index, int):
                step = steps.setdefault(index, {"type": "model_output"})
                step.update(obj(data.get("step")))
                _continue(step, obj(data.get("delta")))
        return {**merged, "steps": merged.get("steps") or [steps[index] for index in sorted(steps)]}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is a part of a step; the first events only announce it."""
        return "step" in event or "delta" in event
