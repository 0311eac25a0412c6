"""Embeddings, pictures, videos and decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Body, Service, more_than_one
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._other_members import PARAMETERS, rest, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations.google_genai.generate import GoogleEndpoint, content_parts, failure_in, in_python
from pandaprobe_otel_integrations.google_genai.interact import Interactions

# -- `embedContent` and `batchEmbedContents`, and embeddings by Vertex AI's `predict`. Vectors are never recorded ------

_INSTANCE: Final = frozenset({"model", "content", "outputDimensionality"})


def _size(own: Any, requests: Any) -> int | None:
    sizes = (own, *(one.get("outputDimensionality") for one in objects(requests)))
    return next((size for each in sizes if (size := integer(each)) is not None), None)


def _embedded(content: Any, requests: Any, instances: Any) -> list[Part]:
    contents = [content, *(one.get("content") for one in objects(requests))]
    found = [part for one in contents for part in content_parts(objects(obj(one).get("parts")))]
    texts = [string(one.get("content")) for one in objects(instances)]
    return parts.user_message(found + [parts.text(text) for text in texts if text])


def _predicted(predictions: Any) -> list[Object]:
    return [obj(one.get("embeddings")) for one in objects(predictions)]


def _dimensions(embeddings: Any, predictions: Any, embedding: Any) -> int | None:
    vectors = [*objects(embeddings), *_predicted(predictions), obj(embedding)]
    return next((size for vector in vectors if (size := len(items(vector.get("values"))))), None)


def _tokens(usage: Any, predictions: Any) -> int | None:
    return integer(obj(usage).get("promptTokenCount")) or _counted(_predicted(predictions))


def _counted(predicted: Iterable[Object]) -> int | None:
    found: list[Any] = [integer(obj(one.get("statistics")).get("token_count")) for one in predicted]
    counts = [count for count in found if count is not None]
    return sum(counts) if counts else None


class Embeddings(GoogleEndpoint):
    """Embeddings of one or several contents, in each of the three forms of Google's services."""

    operation = "embeddings"
    service = Service(
        counted=dict.fromkeys(("promptTokenCount", "totalTokenCount")), member="usageMetadata", failure=failure_in
    )
    request = {
        "model": (names.REQUEST_MODEL, string),
        "parameters": {"outputDimensionality": (names.DIMENSION_COUNT, integer)},
        "embedContentConfig": {"outputDimensionality": (names.DIMENSION_COUNT, integer)},
        ("outputDimensionality", "requests"): (names.DIMENSION_COUNT, _size),
    }
    input = {("content", "requests", "instances"): (names.INPUT_MESSAGES, _embedded)}
    response = {
        ("embeddings", "predictions", "embedding"): (names.DIMENSION_COUNT, _dimensions),
        ("usageMetadata", "predictions"): (names.INPUT_TOKENS, _tokens),
    }
    empty = ("sdkHttpResponse",)

    def other_parameters(self, body: Body) -> Content:
        """Return the parameters. If they differ between several contents, return those of each content."""
        found = super().other_parameters(body)
        of_each = [rest(one, _INSTANCE) for one in (*objects(body.get("requests")), *objects(body.get("instances")))]
        if not any(of_each):
            return found
        same = of_each[0] if all(one == of_each[0] for one in of_each) else {"requests": of_each}
        return {PARAMETERS: {**obj(found.get(PARAMETERS)), **{in_python(key): value for key, value in same.items()}}}


# -- Imagen's `predict` and Veo's `predictLongRunning`. Neither picture nor video is ever recorded ---------------------

_GIVEN: Final = frozenset({"prompt", "image", "referenceImages"})
_MADE: Final = frozenset({"bytesBase64Encoded", "gcsUri", "mimeType", "prompt", "raiFilteredReason"})


def _instances(instances: Any) -> list[Part]:
    said: list[Part] = []
    for one in objects(instances):
        if prompt := string(one.get("prompt")):
            said.append(parts.text(prompt))
        references = [obj(each.get("referenceImage")) for each in objects(one.get("referenceImages"))]
        said += [part for image in (obj(one.get("image")), *references) if (part := _picture(image)) is not None]
        if said:
            said[-1] = with_rest(said[-1], one, _GIVEN)
    return parts.user_message(said)


def _predictions(predictions: Any) -> list[Part]:
    """Return the size and hash of each picture, with the service's data about it."""
    made: list[Part] = []
    for one in objects(predictions):
        if (picture := _picture(one)) is not None:
            made.append(with_rest(picture, one, _MADE))
        if text := string(one.get("prompt")) or string(one.get("raiFilteredReason")):
            made.append(parts.text(text))
    return parts.whole_message(made)


def _picture(image: Object) -> Part | None:
    if data := string(image.get("bytesBase64Encoded")):
        return parts.base64_blob(data, "image", string(image.get("mimeType")))
    address = string(image.get("gcsUri"))
    return parts.media(address, "image") if address else None


class Images(GoogleEndpoint):
    """Pictures from a text, or from a text and pictures."""

    operation = "generate_content"
    service = Service(failure=failure_in)
    constants = {names.OUTPUT_TYPE: "image"}
    request = {
        "model": (names.REQUEST_MODEL, string),
        "parameters": {"sampleCount": (names.CHOICE_COUNT, more_than_one), "seed": (names.SEED, integer)},
    }
    input = {"instances": (names.INPUT_MESSAGES, _instances)}
    output = {"predictions": (names.OUTPUT_MESSAGES, _predictions)}
    empty: ClassVar[Iterable[str]] = ("sdkHttpResponse",)


class Videos(Images):
    """A video: the request starts a job, and the answer is its name, and its known state."""

    constants = {names.OUTPUT_TYPE: "video"}
    response = {"name": (names.RESPONSE_ID, string)}
    output = {}
    empty = (*Images.empty, "predictions")


# -- `POST /decisions`: several questions about one input, each answered by yes or no, a choice, or a score ------------


def _questions(questions: Any) -> list[Part]:
    return [parts.text(to_json({name: question})) for name, question in obj(questions).items()]


class GoogleDecisions(Interactions):
    """Decisions about an input. Input and usage are those of an interaction; questions and answers have names."""

    constants = {names.OUTPUT_TYPE: "json"}
    input = {
        "input": Interactions.input["input"],
        "tools": Interactions.input["tools"],
        "questions": (names.SYSTEM_INSTRUCTIONS, _questions),
    }
    elsewhere = ("system_instruction",)
    empty = (*Interactions.empty, "answers")

    def response_content(self, body: Body, reason: str | None) -> Content:
        """Return the answers as one text, and the other data."""
        answers = obj(body.get("answers"))
        found = [parts.text(to_json(answers))] if answers else []
        return {names.OUTPUT_MESSAGES: parts.whole_message(found), **self.other_data(body)}
