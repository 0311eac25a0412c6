"""The calls of Mistral's API. Its chat is OpenAI's protocol with some members of its own."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._openai_protocol.audio import Speech
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.other_services import ForeignChatCompletions, ForeignResponses
from pandaprobe_otel_integrations._other_members import parameters
from pandaprobe_otel_integrations._shape import integer, string

from .conversations import Conversations
from .moderations import Classifications, Judgements
from .ocr import Documents
from .transcriptions import MistralTranscription


class Chat(ForeignChatCompletions):
    """Chat completions, by a model or by an agent."""

    read: Set[str] = ForeignChatCompletions.read | {"random_seed", "agent_id"}

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters. The seed has another name here, and an agent may take the place of the model."""
        return {
            **super().request_attributes(body),
            names.SEED: integer(body.get("random_seed")),
            names.AGENT_ID: string(body.get("agent_id")),
        }


class FillInTheMiddle(Chat):
    """Code before and after a gap. The answer, in the form of a chat completion, fills it."""

    operation = "text_completion"
    read: Set[str] = Chat.read | {"prompt", "suffix"}

    def request_content(self, body: Body) -> Content:
        """Return the texts before and after the gap."""
        texts = [string(body.get("prompt")), string(body.get("suffix"))]
        message = {"role": "user", "parts": [parts.text(text) for text in texts if text]}
        return {names.INPUT_MESSAGES: [message], **parameters(body, self.read)}


CHAT: Final = Chat()
FILL_IN: Final = FillInTheMiddle()
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/chat/completions": CHAT,
    "/agents/completions": CHAT,
    "/fim/completions": FILL_IN,
    "/embeddings": Embeddings(),
    "/responses": ForeignResponses(),
    "/ocr": Documents(),
    "/audio/speech": Speech(),
    "/audio/transcriptions": MistralTranscription(),
    "/moderations": Judgements(),
    "/classifications": Classifications(),
}
"""Endpoints by the end of the path."""
CONVERSATIONS: Final = Conversations()
"""Endpoint for paths that contain the conversation's id: see `conversations.PATH`."""
