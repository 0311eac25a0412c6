"""`POST /moderations`: whether texts or pictures are harmful."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._other_members import beside, parameters, rest
from pandaprobe_otel_integrations._shape import Object, obj, objects, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .body_errors import failure_in
from .chat_messages import content_parts

_READ: Final = frozenset({"model", "input"})
ANSWERED: Final = frozenset({"id", "model", "results", "error"})
"""Members of an answer that are recorded."""
_VERDICT: Final = frozenset({"flagged", "categories"})


class Moderations(Unstreamed):
    """Moderation of texts or pictures.

    The verdict lists the categories that apply; scores and all other data are beside it.
    """

    operation = "moderation"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model"))}

    def request_content(self, body: Body) -> Content:
        """Return the content to judge. Pictures are shown by their address, or by their size and hash."""
        said = content_parts(body.get("input"))
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the verdict on each input."""
        verdicts = [_verdict(result) for result in objects(body.get("results"))]
        said = [{"role": "assistant", "parts": [parts.text(to_json(verdict)) for verdict in verdicts]}]
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.RESPONSE_MODEL: string(body.get("model")),
            },
            content={names.OUTPUT_MESSAGES: said if verdicts else [], **_rest(body)} if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _rest(body: Body) -> Content:
    scored = [rest(result, _VERDICT) for result in objects(body.get("results"))]
    return beside({**body, "scores": scored if any(scored) else None}, ANSWERED, {})


def _verdict(result: Object) -> dict[str, object]:
    met = [name for name, is_met in obj(result.get("categories")).items() if is_met]
    return {"flagged": bool(result.get("flagged")), "categories": met}
