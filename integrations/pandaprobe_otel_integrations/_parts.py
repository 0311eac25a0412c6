"""Message parts in the form of the OTel GenAI semantic conventions (`gen_ai.input.messages` and its kin).

Every builder returns a plain dict, ready to be encoded. Binary content never gets into an attribute. A blob has only
its MIME type, its size and the SHA-256 of its bytes, so that equal images are recognisable.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ._json import from_json, string, strings

Part = dict[str, Any]
UNFINISHED: Final = "incomplete"
"""Finish reason of a message whose stream was not read to its end."""


def text(content: str) -> Part:
    """Return plain text."""
    return {"type": "text", "content": content}


def text_of(value: Any) -> Part:
    """Return a value as text, and None as an empty text."""
    return text(str(value or ""))


def texts(content: Any) -> list[Part]:
    """Return a text, or each text of a list, as a part; nothing for anything else, and for empty texts."""
    return [text(one) for one in strings(content) or () if one]


def reasoning(content: str) -> Part:
    """Return the model's reasoning, or its summary, as a part."""
    return {"type": "reasoning", "content": content}


def tool_call(id: Any, name: Any, arguments: Any) -> Part:
    """Return a tool call by the model. Arguments in JSON text become an object."""
    return {
        "type": "tool_call",
        "id": string(id),
        "name": string(name) or "",
        "arguments": decoded_arguments(arguments),
    }


def tool_response(id: Any, response: Any) -> Part:
    """Return a tool's result as a part."""
    return {"type": "tool_call_response", "id": string(id), "response": response}


def server_tool_call(id: Any, name: str, call: Any) -> Part:
    """Return a call that the provider made and answered itself (web search, code interpreter)."""
    return {"type": "server_tool_call", "id": string(id), "name": name, "server_tool_call": call}


def file_reference(file_id: str, modality: str, mime_type: str | None = None) -> Part:
    """Return a file that was uploaded before."""
    part: Part = {"type": "file", "modality": modality, "file_id": file_id}
    if mime_type is not None:
        part["mime_type"] = mime_type
    return part


def blob(data: bytes, modality: str, mime_type: str | None) -> Part:
    """Return binary content by its description."""
    return {
        "type": "blob",
        "modality": modality,
        "mime_type": mime_type,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def base64_blob(data: str, modality: str, mime_type: str | None) -> Part:
    """Return base64 text, in either alphabet, as a blob. Text that is not base64 is taken as the bytes themselves."""
    try:
        return blob(b64decode(data.replace("-", "+").replace("_", "/")), modality, mime_type)
    except (binascii.Error, ValueError):
        return blob(data.encode("utf-8", errors="surrogatepass"), modality, mime_type)


def media(url: str, modality: str) -> Part:
    """Return a `data:` URL as a blob, and any other address unchanged."""
    if not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    header, _, payload = url[len("data:") :].partition(",")
    mime_type, *flags = header.split(";")
    if any(flag.strip().lower() == "base64" for flag in flags):
        return base64_blob(payload, modality, mime_type or None)
    return blob(unquote_to_bytes(payload), modality, mime_type or None)


def medium(given: Any, modality: str, mime_type: str | None = None) -> Part:
    """Return bytes, or a text: base64, a `data:` URL, or another address."""
    if isinstance(given, (bytes, bytearray)):
        return blob(bytes(given), modality, mime_type)
    written = str(given or "")
    return media(written, modality) if ":" in written[:16] else base64_blob(written, modality, mime_type)


def user_message(found: list[Part]) -> list[Part]:
    """Return a request of one message; none if it has no parts."""
    return [{"role": "user", "parts": found}] if found else []


def answer_message(found: list[Part], reason: str | None) -> list[Part]:
    """Return an answer of one message; none if nothing of it has arrived."""
    if not found and reason is None:
        return []
    return [{"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}]


def whole_message(found: list[Part]) -> list[Part]:
    """Return an answer that came in one piece; none if it has no parts."""
    return answer_message(found, "stop") if found else []


def said(answer: str | None, reason: str = "stop") -> list[Part]:
    """Return a text as the answer; none if it is empty."""
    return answer_message(texts(answer), reason) if answer else []


def text_or(found: list[Part]) -> str | list[Part]:
    """Return the text of parts that are only text, one per line; otherwise the parts."""
    if all(part.get("type") == "text" and len(part) == 2 for part in found):
        return "\n".join(str(part["content"]) for part in found)
    return found


def decoded_arguments(arguments: Any) -> Any:
    """Return the arguments of a tool call: JSON text of an object as that object, anything else unchanged."""
    if not isinstance(arguments, str):
        return arguments
    if not arguments.lstrip().startswith("{"):
        return arguments
    try:
        return from_json(arguments)
    except ValueError:
        return arguments
