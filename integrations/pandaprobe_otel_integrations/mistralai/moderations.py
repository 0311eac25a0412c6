"""`POST /moderations`, `/classifications` and their variants for chats: judgements of texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Body
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message
from pandaprobe_otel_integrations._openai_protocol.moderations import ANSWERED, Moderations
from pandaprobe_otel_integrations._other_members import beside
from pandaprobe_otel_integrations._shape import items, obj, objects


class Judgements(Moderations):
    """Moderation of texts or of chats."""

    def request_content(self, body: Body) -> Content:
        """Return the texts, or the messages of each chat."""
        messages = [input_message(message) for message in _messages(body.get("input"))]
        content = super().request_content(body)
        return {**content, names.INPUT_MESSAGES: messages} if messages else content


class Classifications(Judgements):
    """Classification by a trained model; each result has the probability of each label."""

    operation = "classification"

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the scores as one text for each input."""
        answer = super().answer(body, with_content=with_content)
        said = [parts.text(to_json(result)) for result in objects(body.get("results"))]
        message = {"role": "assistant", "parts": said}
        if not with_content:
            return answer
        more = beside(body, ANSWERED, {})
        return replace(answer, content={names.OUTPUT_MESSAGES: [message] if said else [], **more})


def _messages(value: Any) -> list[Any]:
    """Return messages of one chat or of several, as lists or as objects with such lists."""
    if within := items(value) or items(obj(value).get("messages")):
        return [message for one in within for message in _messages(one)]
    return [value] if "role" in obj(value) else []
