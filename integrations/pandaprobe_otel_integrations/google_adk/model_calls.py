"""Additions to ADK's spans of model calls: parameters, and most data of an answer beside its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._other_members import RESPONSE, rest, uncounted
from pandaprobe_otel_integrations._shape import Object, obj, string
from pandaprobe_otel_integrations.google_genai.generate import (
    COUNTED,
    FINISH_REASONS,
    GenerateContent,
    content_parts,
    usage_attributes,
)

_CALLS: Final = GenerateContent()
_TOLD: Final = frozenset({"systemInstruction", "tools", "httpOptions", "automaticFunctionCalling"})
"""Members of a configuration that ADK records, and settings of its client."""
_SAID: Final = frozenset(
    {"content", "partial", "turnComplete", "finishReason", "usageMetadata", "modelVersion", "errorCode", "errorMessage"}
)
_TEXTUAL: Final = frozenset({"text", "reasoning"})


def request_attributes(request: Any) -> Mapping[str, Any]:
    """Return the parameters that have attributes."""
    return _CALLS.request_attributes({"generationConfig": _config(request)})


def request_content(request: Any) -> Content:
    """Return the other parameters."""
    found = _CALLS.request_content({"generationConfig": _config(request)})
    return {name: value for name, value in found.items() if name != names.INPUT_MESSAGES}


def answer_attributes(response: Any) -> Mapping[str, Any]:
    """Return the model that has answered, and its tokens by kind."""
    answer = _members(response)
    return {
        names.RESPONSE_MODEL: string(answer.get("modelVersion")),
        **usage_attributes(obj(answer.get("usageMetadata"))),
    }


def answer_content(response: Any) -> Content:
    """Return other data of the answer: grounding, citations, log probabilities, data of the app's own model class."""
    answer = _members(response)
    left = rest(answer, _SAID)
    if counts := uncounted(answer.get("usageMetadata"), COUNTED):
        left["usage"] = counts
    return {RESPONSE: {"response": left}} if left else {}


def calls_tools(response: Any) -> bool:
    """Return whether an answer, or a chunk of one, calls a tool."""
    return any(each.function_call for each in getattr(response.content, "parts", None) or ())


def is_last(response: Any) -> bool:
    """Return whether this is a whole answer, or the last chunk of one."""
    return not response.partial or response.finish_reason is not None


def failure(response: Any) -> tuple[str, str] | None:
    """Return code and message of a failed answer. A finish reason is not a failure."""
    code = string(getattr(response, "error_code", None))
    message = string(getattr(response, "error_message", None))
    if code is None or code in FINISH_REASONS:
        return None
    return code, message or code


def part(given: Any, told: Any) -> Any:
    """Return a part of a message in the conventions' form.

    ADK records some parts incompletely (`told`), others not at all.
    """
    found = content_parts([_members(given)])
    if len(found) != 1:
        return told
    described = obj(told)
    if found[0]["type"] in _TEXTUAL or not described:
        return found[0]
    return {**found[0], **({"id": described["id"]} if described.get("id") else {})}


def _config(request: Any) -> Object:
    config = _members(request.config)
    return {name: value for name, value in config.items() if name not in _TOLD}


def _members(model: Any) -> Object:
    """Return a model of Google's by the names in JSON; bytes and schemas stay unchanged."""
    found: Any = model.model_dump(by_alias=True, exclude_none=True)
    return obj(found)
