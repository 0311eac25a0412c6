"""`POST /images/generations`, `/images/edits` and `/images/variations`. The images themselves are never recorded."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

from .body_errors import failure_in
from .parameters import LIMITS, SAMPLING, sampling_attributes
from .uploads import FILES, file_parts
from .usage import COUNTED, usage_attributes

_READ: Final = names_of(SAMPLING, LIMITS, ("prompt", FILES))
_ANSWERED: Final = frozenset({"created", "data", "usage", "error", "b64_json", "type"})
_IMAGE: Final = frozenset({"b64_json", "url", "revised_prompt"})


class Images:
    """Pictures from a text, or from a text and pictures."""

    operation = "generate_content"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and number of images."""
        return {**sampling_attributes(body), names.OUTPUT_TYPE: "image"}

    def request_content(self, body: Body) -> Content:
        """Return the prompt, and the names of the files."""
        prompt = string(body.get("prompt"))
        said = [parts.text(prompt)] if prompt else []
        said += file_parts(body, "image")
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return each image by its address, or by its size and hash, and the usage."""
        content: Content = {}
        if with_content:
            images = [part for image in objects(body.get("data")) for part in _image(image, body)]
            message = {"role": "assistant", "parts": images, "finish_reason": "stop"}
            more = beside(body, _ANSWERED, COUNTED)
            content = {names.OUTPUT_MESSAGES: [message] if images else [], **more}
        return Answer(
            attributes=usage_attributes(body.get("usage")),
            content=content,
            failure=failure_in(body.get("error")),
            is_whole=str(body.get("type")).endswith(".completed"),
        )

    def merged(self, events: Events) -> Body:
        """Return the final image of a stream, or the last unfinished one if the stream broke off."""
        last = obj(last_data(events))
        if "b64_json" not in last:
            return last
        return {**last, "data": [{"b64_json": last["b64_json"]}]}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is any image, including unfinished ones."""
        return "b64_json" in obj(event.data)


def _image(image: Body, body: Body) -> list[Part]:
    found: list[Part] = []
    if data := string(image.get("b64_json")):
        found.append(parts.base64_blob(data, "image", f"image/{string(body.get('output_format')) or 'png'}"))
    elif url := string(image.get("url")):
        found.append(parts.media(url, "image"))
    if revised := string(image.get("revised_prompt")):
        found.append(parts.text(revised))
    if found:
        found[0] = with_rest(found[0], image, _IMAGE)
    return found
