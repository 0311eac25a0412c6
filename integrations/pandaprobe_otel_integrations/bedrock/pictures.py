"""Bodies of models that make pictures and videos. Neither inputs nor results are ever recorded as bytes."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .converse import METRICS

_TASK: Final = "Params"
"""Suffix of the member that contains the task, in requests to Amazon's models."""
_GIVEN: Final = frozenset(
    {
        "image", "images", "init_image", "mask", "mask_image", "style_image", "conditionImage", "maskImage",
        "referenceImage", "sourceImage",
    }
)  # fmt: skip
"""Members that are pictures, as base64."""
_SAID: Final = _GIVEN | {"text", "prompt", "text_prompts"}
_READ: Final = _SAID | {"model", "stream"}
_ANSWER: Final = frozenset({"images", "artifacts", "error", METRICS})
_ARTIFACT: Final = frozenset({"base64"})


class Pictures(Unstreamed):
    """Pictures by Amazon's Nova Canvas and Titan, and by Stability's models."""

    operation = "generate_content"
    output_type = "image"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: self.output_type}

    def request_content(self, body: Body) -> Content:
        """Return the instructions, and pictures by size and hash."""
        tasks = [name for name in body if name.endswith(_TASK) and obj(body[name])]
        said = [*_output(body), *(part for name in tasks for part in _task(obj(body[name])))]
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters(body, _READ.union(tasks)),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return each picture by size and hash; a refusal takes the place of a picture."""
        content: Content = {}
        if with_content:
            made = [parts.base64_blob(one, "image", None) for one in items(body.get("images")) if isinstance(one, str)]
            for one in objects(body.get("artifacts")):
                picture = parts.base64_blob(string(one.get("base64")) or "", "image", None)
                made.append(with_rest(picture, one, _ARTIFACT))
            message = {"role": "assistant", "parts": made, "finish_reason": "stop"}
            content = {names.OUTPUT_MESSAGES: [message] if made else [], **beside(body, _ANSWER, {})}
        error = string(body.get("error"))
        return Answer(content=content, failure=Failure(type="error", message=error) if error is not None else None)


class Videos(Pictures):
    """Videos by Amazon's Nova Reel and by Luma's models: the request starts a job."""

    output_type = "video"


def _task(task: Object) -> list[Part]:
    """Return the task of one of Amazon's models: the text, its other members, and the pictures."""
    said = _output(task)
    if not said:
        return [with_rest({"type": "task"}, task, _SAID)]
    said[0] = with_rest(said[0], task, _SAID)
    return said


def _output(members: Object) -> list[Part]:
    texts = [text for name in ("prompt", "text") if (text := string(members.get(name))) is not None]
    found = [parts.text(text) for text in texts]
    weighed = objects(members.get("text_prompts"))
    found += [with_rest(parts.text(str(one.get("text") or "")), one, {"text"}) for one in weighed]
    given: list[tuple[str, Any]] = [
        (name, one)
        for name in members
        if name in _GIVEN
        for one in (members[name] if isinstance(members[name], (list, tuple)) else (members[name],))
    ]
    return found + [_picture(name, one) for name, one in given if one]


def _picture(name: str, given: Any) -> Part:
    if isinstance(given, str):
        return {**parts.base64_blob(given, "image", None), "name": name}
    members = obj(given)
    source = obj(members.get("source"))
    data = string(source.get("bytes"))
    found = parts.base64_blob(data, "image", string(members.get("format"))) if data is not None else {"type": "image"}
    return with_rest({**found, "name": name}, members, {"source"} if data is not None else set())
