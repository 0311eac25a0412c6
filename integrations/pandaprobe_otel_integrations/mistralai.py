"""OpenTelemetry spans for the `mistralai` client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Body,
    Endpoint,
    common,
    each,
    question,
)
from pandaprobe_otel_integrations._http import any_call_in
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import (
    Object,
    items,
    obj,
    object_from_json,
    objects,
    string,
)
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts, tool_definition
from pandaprobe_otel_integrations._openai_protocol.endpoints import (
    Embeddings,
    ForeignChatCompletions,
    ForeignResponses,
    Moderations,
    PostedEndpoints,
    foreign,
)
from pandaprobe_otel_integrations._openai_protocol.media import Speech, Transcription
from pandaprobe_otel_integrations._openai_protocol.usage import OPENAI, SAMPLING
from pandaprobe_otel_integrations._other_members import reading, rest, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._speakeasy import SpeakeasyHooks
from pandaprobe_otel_integrations._streams.body import LastEvent

__all__ = ["MistralInstrumentor"]


# -- the events of a streamed conversation, merged ---------------------------------------------------------------------


def _add(outputs: dict[tuple[str, str | None], dict[str, Any]], kind: str, event: Object) -> None:
    """Add a piece to the entry of its kind and id. Entries are in the order of their first pieces."""
    entry_kind, _, stage = kind.rpartition(".")
    entry_id = string(event.get("id"))
    entry = outputs.setdefault((entry_kind, entry_id), {"type": entry_kind, "id": entry_id})
    for name in ("model", "agent_id", "name", "tool_call_id", "info", "next_agent_id", "next_agent_name"):
        if event.get(name) is not None:
            entry[name] = event[name]
    if isinstance(arguments := event.get("arguments"), str):
        entry["arguments"] = arguments if stage == "started" else entry.get("arguments", "") + arguments
    if "content" in event:
        _add_content(entry, event["content"])


def _add_content(entry: dict[str, Any], piece: Any) -> None:
    """Add content: text extends the text before it, and anything else is a separate piece."""
    content: list[Any] = entry.setdefault("content", [])
    text = piece if isinstance(piece, str) else _text(piece)
    if not isinstance(text, str):
        content.append(piece)
    elif content and isinstance(_text(content[-1]), str):
        content[-1]["text"] += text
    else:
        content.append({"type": "text", "text": text})


def _text(piece: Any) -> Any:
    return obj(piece).get("text") if obj(piece).get("type") == "text" else None


# -- `POST /ocr`: text recognition of a document, page by page ---------------------------------------------------------

_PAGE: Final = frozenset({"markdown"})


def _document(given: Any) -> list[Part]:
    document = obj(given)
    if file_id := string(document.get("file_id")):
        return [parts.file_reference(file_id, "document")]
    for kind, modality in (("document_url", "document"), ("image_url", "image")):
        given = document.get(kind)
        if url := string(given) or string(obj(given).get("url")):
            return [parts.media(url, modality)]
    return []


def _read(pages: Any, annotation: Any) -> list[Part]:
    found = [
        with_rest(parts.text(text), page, _PAGE) for page in objects(pages) if (text := string(page.get("markdown")))
    ]
    return parts.whole_message(found + parts.texts(annotation))


class Documents(Endpoint):
    """A document, and the text of each page. Its cost is counted in pages, which are not tokens."""

    operation = "generate_content"
    constants = {names.OUTPUT_TYPE: "text"}
    request = common("model")
    input = {("document", "document_annotation_prompt"): (names.INPUT_MESSAGES, question(_document, parts.texts))}
    response = {"model": (names.RESPONSE_MODEL, string)}
    output = {("pages", "document_annotation"): (names.OUTPUT_MESSAGES, _read)}


# -- `POST /audio/transcriptions`: OpenAI's protocol, except for the events of a stream --------------------------------


class MistralTranscription(Transcription):
    """Sound as text."""

    piece = "text"


# -- `POST /conversations`: a model or an agent answers, and the service keeps the conversation ------------------------

PATH: Final = re.compile(r"/conversations(?:/[^/]+(?:/restart)?)?$")
_LAST_EVENT: Final = LastEvent(
    hint=b"conversation.response.",
    mark=re.compile(rb"(?:^|[\n\r])event: ?conversation\.response\.(?:done|error)[\n\r]"),
)


_ENTRY: Final = frozenset({"type", "object", "id", "created_at", "completed_at", "model"})
_MESSAGE: Final = _ENTRY | {"role", "content"}
_RESULT: Final = reading(parts.tool_response, "tool_call_id", "result", beside=_ENTRY)
_CALL: Final = reading(parts.tool_call, "tool_call_id", "name", "arguments", beside=_ENTRY)
_NAMED: Final = frozenset({"id", "name", "object"})
"""Members that the reader of each entry uses; all others stay beside it, under their own names."""


def _input_message(entry: Object) -> Part:
    kind = string(entry.get("type")) or "message.input"
    if kind == "function.result":
        return {"role": "tool", "parts": [_RESULT(entry)]}
    if kind == "message.input":
        found: Part = {"role": string(entry.get("role")) or "user", "parts": content_parts(entry.get("content"))}
        return with_rest(found, entry, _MESSAGE)
    return {"role": "assistant", "parts": _output_parts(entry)}


def _output_parts(entry: Object) -> list[Part]:
    kind = string(entry.get("type")) or "message.output"
    if kind == "message.output":
        said = content_parts(entry.get("content"))
        if said and entry.keys() - _MESSAGE:
            said[0] = with_rest(said[0], entry, _MESSAGE)
        return said
    if kind == "function.call":
        return [_CALL(entry)]
    name = string(entry.get("name"))
    details = rest(entry, _NAMED)
    return [parts.server_tool_call(id=entry.get("id"), name=name or kind, call=details)]


def _inputs(inputs: Any) -> list[Part]:
    entries: list[Any] = [{"content": inputs}] if isinstance(inputs, str) else items(inputs)
    return [_input_message(obj(entry)) for entry in entries]


def _model(outputs: Any) -> str | None:
    return next((string(entry.get("model")) for entry in objects(outputs) if entry.get("model")), None)


_SEED: Final = common(random_seed="seed")


class Conversations(Endpoint):
    """A conversation that is started, continued or resumed at an earlier place."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT
    service = OPENAI
    request = {
        **common("model", "stream"),
        "agent_id": (names.AGENT_ID, string),
        "completion_args": {**foreign(SAMPLING), **_SEED},
    }
    input = {
        "instructions": (names.SYSTEM_INSTRUCTIONS, parts.texts),
        "inputs": (names.INPUT_MESSAGES, _inputs),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = {
        "conversation_id": (names.CONVERSATION_ID, string),
        "outputs": (names.RESPONSE_MODEL, _model),
    }
    empty = ("object",)

    def finish_reason(self, choice: Object) -> str | None:
        """Return a reason, because Mistral sends none. A complete answer has its usage, and may end with tool calls."""
        if not choice.get("usage"):
            return None
        return "tool_call" if any(part.get("type") == "tool_call" for part in self.output_parts(choice)) else "stop"

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the texts and calls."""
        return [part for entry in objects(choice.get("outputs")) for part in _output_parts(entry)]

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events as one answer."""
        merged: dict[str, Any] = {}
        outputs: dict[tuple[str, str | None], dict[str, Any]] = {}
        for event in events:
            kind = string(event.get("type")) or ""
            if kind == "conversation.response.started":
                merged["conversation_id"] = event.get("conversation_id")
            elif kind == "conversation.response.done":
                merged["usage"] = event.get("usage")
            elif kind == "conversation.response.error":
                merged["error"] = {"code": event.get("code"), "message": event.get("message")}
            else:
                _add(outputs, kind, event)
        return {**merged, "outputs": list(outputs.values())}

    def is_output(self, event: Object) -> bool:
        """Return whether the event comes after the announcement."""
        return not str(event.get("type")).startswith("conversation.")


# -- the calls of Mistral's API. Its chat is OpenAI's protocol with some members of its own ----------------------------


class Chat(ForeignChatCompletions):
    """Chat completions, by a model or by an agent. The seed has another name here."""

    request = {**ForeignChatCompletions.request, **_SEED, "agent_id": (names.AGENT_ID, string)}


class FillInTheMiddle(Chat):
    """Code before and after a gap. The answer, in the form of a chat completion, fills it."""

    operation = "text_completion"
    input = {("prompt", "suffix"): (names.INPUT_MESSAGES, question(parts.texts, parts.texts))}


CHAT: Final = Chat()
FILL_IN: Final = FillInTheMiddle()
ENDPOINTS: Final = PostedEndpoints(
    {
        "/chat/completions": CHAT,
        "/agents/completions": CHAT,
        "/fim/completions": FILL_IN,
        "/embeddings": Embeddings(),
        "/responses": ForeignResponses(),
        "/ocr": Documents(),
        "/audio/speech": Speech(),
        "/audio/transcriptions": MistralTranscription(),
        "/moderations": Moderations(),
    }
)
CONVERSATIONS: Final = Conversations()
"""Endpoint for paths that contain the conversation's id: see `conversations.PATH`."""


# -- the client's requests that are model calls, and a switch for its own spans beside ours ----------------------------

_PROVIDER = "mistral_ai"
_CLOUDS = {
    "mistralai.azure": "azure.ai.inference",
    "mistralai_azure": "azure.ai.inference",
    "mistralai.gcp": "gcp.vertex_ai",
    "mistralai_gcp": "gcp.vertex_ai",
}
"""Providers by the package of the client's parts."""
_VERTEX = ("/rawPredict", "/streamRawPredict", ":rawPredict", ":streamRawPredict")
"""Ends of the paths of Vertex AI, which are the same for every kind of call."""


_BASES = ("mistralai.client.basesdk", "mistralai.basesdk")
_PLATFORM_BASES = (
    "mistralai.azure.client.basesdk",
    "mistralai.gcp.client.basesdk",
    "mistralai_azure.basesdk",
    "mistralai_gcp.basesdk",
)
_OWN_TRACING = "mistralai.client._hooks.tracing"


class MistralInstrumentor(SpeakeasyHooks, Integration):
    """Chat, agents, conversations, responses, fill-in-the-middle, embeddings, documents and speech.

    Transcription and moderation are recorded too, all sync and async, streamed or not, and with the clients for Azure
    and Vertex AI. From 2.0, the client can make its own spans (`MISTRAL_SDK_TELEMETRY`, `configure_telemetry`). So that
    one call is one span, it makes none for a call that is recorded here. See `Integration` for the options of
    `instrument()`.
    """

    library = "mistralai"
    hooked_modules = (*_BASES, *_PLATFORM_BASES, _OWN_TRACING)

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client; its parts (`chat`, `embeddings`, ...) share one configuration."""
        super().watch_client(client.sdk_configuration)

    def _watched(self, client: Any) -> Any:
        return client.sdk_configuration

    def endpoint(self, request: Any) -> Endpoint | None:
        """Return the endpoint by the end of the path; on Vertex AI, by the body."""
        path: str = request.url.path.rstrip("/")
        if request.method.upper() != "POST":
            return None
        if PATH.search(path):
            return CONVERSATIONS
        if path.endswith(_VERTEX):
            return CHAT if "messages" in (object_from_json(request.content) or {}) else FILL_IN
        return ENDPOINTS.endpoint(request.method, path)

    def provider(self, sdk: Any, request: Any) -> str:
        """Return the provider by the package of the client's part."""
        package = type(sdk).__module__
        return next((found for start, found in _CLOUDS.items() if package.startswith(start)), _PROVIDER)

    def own_span(self, original: OriginalCall) -> Any:
        """Return the request unchanged instead of opening the client's own span, if our span exists already."""
        if any_call_in(get_current()):
            return original.arg(1, "request")
        return original()

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == _OWN_TRACING:
            yield patch(module.TracingHook, "before_request", self.own_span)
        else:
            yield patch(module.BaseSDK, "do_request", self.call)
            yield patch(module.BaseSDK, "do_request_async", self.call_async)
