"""`POST /completions`: text in and text out. This API is older than messages."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._other_members import names_of, parameters
from pandaprobe_otel_integrations._shape import items

from .chat import ChatCompletions
from .parameters import LIMITS, SAMPLING, sampling_attributes


class Completions(ChatCompletions):
    """Legacy completions. Answer and stream have the form of chat completions, with `text` in place of the message."""

    operation = "text_completion"
    read: Set[str] = names_of(SAMPLING, LIMITS, ("prompt",))

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return sampling_attributes(body)

    def request_content(self, body: Body) -> Content:
        """Return one or several prompts. Token ids are replaced by their number."""
        prompt = body.get("prompt")
        prompts = [prompt] if isinstance(prompt, str) or _is_tokens(prompt) else items(prompt)
        messages = [{"role": "user", "parts": [parts.text(_text(one))]} for one in prompts]
        return {names.INPUT_MESSAGES: messages, **parameters(body, self.read)}


def _is_tokens(prompt: Any) -> bool:
    return any(isinstance(item, int) for item in items(prompt)[:1])


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else f"[{len(items(prompt))} token ids]"
