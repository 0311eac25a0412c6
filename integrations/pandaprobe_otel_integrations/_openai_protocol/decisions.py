"""`POST /decisions`: several questions about one input, each answered by yes or no, a choice, or a score."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._other_members import beside, parameters
from pandaprobe_otel_integrations._shape import items, obj, objects, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .body_errors import failure_in
from .response_items import input_messages
from .usage import COUNTED, usage_attributes


class Decisions(Unstreamed):
    """Decisions about an input. The questions are part of the instructions, and the answers are one JSON text."""

    operation = "generate_content"
    read: Set[str] = frozenset({"model", "input", "questions"})
    answered: Set[str] = frozenset({"model", "object", "answers", "usage", "error", "created", "created_at"})

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "json"}

    def request_content(self, body: Body) -> Content:
        """Return the content to judge, and the questions."""
        return {
            names.INPUT_MESSAGES: input_messages(body.get("input")),
            names.SYSTEM_INSTRUCTIONS: [parts.text(to_json(question)) for question in _each(body.get("questions"))],
            **parameters(body, self.read),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answers in the order of the questions, and the usage."""
        found = items(body.get("answers")) or obj(body.get("answers"))
        said = [{"role": "assistant", "parts": [parts.text(to_json(found))], "finish_reason": "stop"}] if found else []
        return Answer(
            attributes={names.RESPONSE_MODEL: string(body.get("model")), **usage_attributes(body.get("usage"))},
            content={names.OUTPUT_MESSAGES: said, **beside(body, self.answered, COUNTED)} if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _each(questions: Any) -> list[Any]:
    """Return the questions, given as a list or by their names."""
    return [*objects(questions), *({name: asked} for name, asked in obj(questions).items())]
