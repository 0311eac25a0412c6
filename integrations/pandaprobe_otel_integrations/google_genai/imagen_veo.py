"""Imagen's `predict` and Veo's `predictLongRunning`. Neither picture nor video is ever recorded."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, integer, obj, objects, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .generate import failure_in, parameters_in

_BODY: Final = frozenset({"model", "instances", "parameters"})
_PARAMETERS: Final = frozenset({"sampleCount", "seed"})
_INSTANCE: Final = frozenset({"prompt", "image", "referenceImages"})
_MADE: Final = frozenset({"bytesBase64Encoded", "gcsUri", "mimeType", "prompt", "raiFilteredReason"})
_ANSWER: Final = frozenset({"predictions", "error", "sdkHttpResponse"})
_JOB: Final = _ANSWER | {"name"}


class Images(Unstreamed):
    """Pictures from a text, or from a text and pictures."""

    operation = "generate_content"
    output_type = "image"

    def request_attributes(self, body: Body) -> Attributes:
        """Return model, number and seed."""
        given = obj(body.get("parameters"))
        count = integer(given.get("sampleCount"))
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.CHOICE_COUNT: count if count is not None and count > 1 else None,
            names.SEED: integer(given.get("seed")),
            names.OUTPUT_TYPE: self.output_type,
        }

    def request_content(self, body: Body) -> Content:
        """Return the prompt, and pictures by size and hash."""
        said: list[Part] = []
        for one in objects(body.get("instances")):
            if prompt := string(one.get("prompt")):
                said.append(parts.text(prompt))
            given: list[Any] = [one.get("image"), *(obj(each.get("referenceImage")) for each in _references(one))]
            said += [part for image in given if (part := _picture(obj(image))) is not None]
            if said:
                said[-1] = with_rest(said[-1], one, _INSTANCE)
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters_in(body, _BODY, ("parameters", _PARAMETERS)),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the size and hash of each picture, with the service's data about it."""
        made: list[Part] = []
        for one in objects(body.get("predictions")):
            if (picture := _picture(one)) is not None:
                made.append(with_rest(picture, one, _MADE))
            if text := string(one.get("prompt")) or string(one.get("raiFilteredReason")):
                made.append(parts.text(text))
        message = {"role": "assistant", "parts": made, "finish_reason": "stop"}
        return Answer(
            content={names.OUTPUT_MESSAGES: [message] if made else [], **beside(body, _ANSWER, {})}
            if with_content
            else {},
            failure=failure_in(body.get("error")),
        )


class Videos(Images):
    """A video: the request starts a job, and the answer is its name."""

    output_type = "video"

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the name of the job, and its known state."""
        return Answer(
            attributes={names.RESPONSE_ID: string(body.get("name"))},
            content=beside(body, _JOB, {}) if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _references(instance: Object) -> list[Object]:
    return objects(instance.get("referenceImages"))


def _picture(image: Object) -> Part | None:
    if data := string(image.get("bytesBase64Encoded")):
        return parts.base64_blob(data, "image", string(image.get("mimeType")))
    address = string(image.get("gcsUri"))
    return parts.media(address, "image") if address else None
