"""`POST /decisions`: several questions about one input, each answered by yes or no, a choice, or a score."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._shape import obj

from .interact import Interactions


class GoogleDecisions(Interactions):
    """Decisions about an input. Input and usage are those of an interaction; questions and answers have names."""

    read: Set[str] = Interactions.read | {"questions"}
    answered: Set[str] = Interactions.answered | {"answers"}

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {**super().request_attributes(body), names.OUTPUT_TYPE: "json"}

    def request_content(self, body: Body) -> Content:
        """Return the content to judge; the questions are part of the instructions."""
        questions = [parts.text(to_json({name: asked})) for name, asked in obj(body.get("questions")).items()]
        return {**super().request_content(body), names.SYSTEM_INSTRUCTIONS: questions}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answers as one text, and the usage."""
        answers = obj(body.get("answers"))
        message = {"role": "assistant", "parts": [parts.text(to_json(answers))], "finish_reason": "stop"}
        content: Content = {names.OUTPUT_MESSAGES: [message]} if with_content and answers else {}
        answer = super().answer(body, with_content=with_content)
        return replace(answer, content={**answer.content, names.OUTPUT_MESSAGES: [], **content})
