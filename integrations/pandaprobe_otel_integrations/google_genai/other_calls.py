"""Embeddings, pictures, videos and decisions."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Unstreamed
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._other_members import PARAMETERS, Counts, beside, rest, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data
from pandaprobe_otel_integrations.google_genai.generate import content_parts, failure_in, in_python, parameters_in
from pandaprobe_otel_integrations.google_genai.interact import Interactions

# -- `embedContent` and `batchEmbedContents`, and embeddings by Vertex AI's `predict`. Vectors are never recorded ------

_BODY: Final = frozenset(
    {"model", "content", "requests", "instances", "parameters", "embedContentConfig", "outputDimensionality"}
)
_SIZE: Final = frozenset({"outputDimensionality"})
_INSTANCE: Final = frozenset({"model", "content", "outputDimensionality"})
_ANSWER: Final = frozenset({"embeddings", "embedding", "predictions", "usageMetadata", "error", "sdkHttpResponse"})
_COUNTED: Final[Counts] = dict.fromkeys(("promptTokenCount", "totalTokenCount"))


class Embeddings:
    """Embeddings of one or several contents, in each of the three forms of Google's services."""

    operation = "embeddings"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and the requested dimensions."""
        asked = [body, *objects(body.get("requests")), obj(body.get("parameters")), obj(body.get("embedContentConfig"))]
        sizes = [integer(one.get("outputDimensionality")) for one in asked]
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: next((size for size in sizes if size is not None), None),
        }

    def request_content(self, body: Body) -> Content:
        """Return the content to embed."""
        contents = [one.get("content") for one in (body, *objects(body.get("requests")))]
        found = [part for content in contents for part in content_parts(objects(obj(content).get("parts")))]
        texts = [string(one.get("content")) for one in objects(body.get("instances"))]
        found += [parts.text(text) for text in texts if text]
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [], **_parameters(body)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the length of the vectors, and the tokens if the service counts them."""
        predicted = [obj(one.get("embeddings")) for one in objects(body.get("predictions"))]
        vectors = [*objects(body.get("embeddings")), *predicted, obj(body.get("embedding"))]
        sizes = [len(items(vector.get("values"))) for vector in vectors]
        usage = obj(body.get("usageMetadata"))
        return Answer(
            attributes={
                names.DIMENSION_COUNT: next((size for size in sizes if size), None),
                names.INPUT_TOKENS: integer(usage.get("promptTokenCount")) or _counted(predicted),
            },
            content=beside(body, _ANSWER, _COUNTED, "usageMetadata") if with_content else {},
            failure=failure_in(body.get("error")),
        )

    def merged(self, events: Events) -> Body:
        """Return nothing: embeddings are not streamed."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: embeddings are not streamed."""
        return False


def _parameters(body: Body) -> Content:
    """Return the parameters. If they differ between several contents, return those of each content."""
    found = parameters_in(body, _BODY, ("parameters", _SIZE), ("embedContentConfig", _SIZE))
    of_each = [rest(one, _INSTANCE) for one in (*objects(body.get("requests")), *objects(body.get("instances")))]
    if not any(of_each):
        return found
    same = of_each[0] if all(one == of_each[0] for one in of_each) else {"requests": of_each}
    return {PARAMETERS: {**obj(found.get(PARAMETERS)), **{in_python(key): value for key, value in same.items()}}}


def _counted(predicted: Iterable[Object]) -> int | None:
    found: list[Any] = [integer(obj(one.get("statistics")).get("token_count")) for one in predicted]
    counts = [count for count in found if count is not None]
    return sum(counts) if counts else None


# -- Imagen's `predict` and Veo's `predictLongRunning`. Neither picture nor video is ever recorded ---------------------

_PREDICTION_BODY: Final = frozenset({"model", "instances", "parameters"})
_PARAMETERS: Final = frozenset({"sampleCount", "seed"})
_PREDICTION_INSTANCE: Final = frozenset({"prompt", "image", "referenceImages"})
_MADE: Final = frozenset({"bytesBase64Encoded", "gcsUri", "mimeType", "prompt", "raiFilteredReason"})
_PREDICTION_ANSWER: Final = frozenset({"predictions", "error", "sdkHttpResponse"})
_JOB: Final = _PREDICTION_ANSWER | {"name"}


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
                said[-1] = with_rest(said[-1], one, _PREDICTION_INSTANCE)
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters_in(body, _PREDICTION_BODY, ("parameters", _PARAMETERS)),
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
            content={names.OUTPUT_MESSAGES: [message] if made else [], **beside(body, _PREDICTION_ANSWER, {})}
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


# -- `POST /decisions`: several questions about one input, each answered by yes or no, a choice, or a score ------------


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
