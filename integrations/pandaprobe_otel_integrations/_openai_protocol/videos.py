"""`POST /videos` and related paths, which start a job. The video is fetched later as a file, and never recorded."""

from __future__ import annotations

import re
from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, parameters
from pandaprobe_otel_integrations._shape import items, obj, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .body_errors import failure_in
from .uploads import FILES, file_parts

REMIX: Final = re.compile(r"/videos/[^/?]+/remix/?(?:\?.*)?$")
"""The path that contains the id of the video."""


_READ: Final = frozenset({"model", "prompt", FILES})
_ANSWERED: Final = frozenset({"id", "model", "status", "object", "created_at", "error"})


class Videos(Unstreamed):
    """A video made from a text, a picture, or another video."""

    operation = "generate_content"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "video"}

    def request_content(self, body: Body) -> Content:
        """Return the prompt, and the names of the files."""
        prompt = string(body.get("prompt"))
        said = [parts.text(prompt)] if prompt else []
        from_video = any(field == "video" for field, _ in items(body.get(FILES)))
        said += file_parts(body, "video" if from_video else "image")
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the job's id and progress, and the address of the video if it exists."""
        url = string(obj(body.get("outputs")).get("video_url"))
        made = [{"role": "assistant", "parts": [parts.media(url, "video")], "finish_reason": "stop"}] if url else []
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.RESPONSE_MODEL: string(body.get("model")),
                names.RESPONSE_STATUS: string(body.get("status")),
            },
            content={names.OUTPUT_MESSAGES: made, **beside(body, _ANSWERED, {})} if with_content else {},
            failure=failure_in(body.get("error")),
        )
