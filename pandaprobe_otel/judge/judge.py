"""Interface of judges, which answer questions about traces in a given structure and may turn texts into vectors."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of judges."""

    key: str
    name: str
    description: str
    variable: str
    """The environment variable with the key."""
    address: str = ""
    """The address of its API; empty for a provider that is not called from here."""
    address_variable: str = ""
    """The variable of its client that sets another address."""

    def record(self, *, available: bool) -> dict[str, Any]:
        """Return the object of `GET /evaluations/providers`."""
        message = f"Provider '{self.name}' is available." if available else self.missing
        return {
            "key": self.key,
            "name": self.name,
            "description": self.description,
            "available": available,
            "message": message,
        }

    @property
    def missing(self) -> str:
        """The reason why the provider cannot be used."""
        return f"Provider '{self.name}' is not configured. Missing environment variable(s): {self.variable}"


OPENAI: Final = Provider(
    key="openai",
    name="OpenAI",
    description="OpenAI GPT models (gpt-4o, gpt-4o-mini, etc.)",
    variable="OPENAI_API_KEY",
    address="https://api.openai.com/v1",
    address_variable="OPENAI_BASE_URL",
)
VERTEX_AI: Final = Provider(
    key="vertex_ai",
    name="Vertex AI",
    description="Google Vertex AI (Gemini, Claude, etc.)",
    variable="GOOGLE_CLOUD_PROJECT",
)
ANTHROPIC: Final = Provider(
    key="anthropic",
    name="Anthropic",
    description="Anthropic Claude models (claude-3.5-sonnet, etc.)",
    variable="ANTHROPIC_API_KEY",
    address="https://api.anthropic.com",
    address_variable="ANTHROPIC_BASE_URL",
)
GOOGLE_GENAI: Final = Provider(
    key="google_genai",
    name="Google GenAI",
    description="Google Gemini via AI Studio API key",
    variable="GEMINI_API_KEY",
    address="https://generativelanguage.googleapis.com",
    address_variable="GOOGLE_GEMINI_BASE_URL",
)
PROVIDERS: Final[Sequence[Provider]] = (OPENAI, ANTHROPIC, GOOGLE_GENAI, VERTEX_AI)


_BY_KEY: Final = {provider.key: provider for provider in PROVIDERS}


class JudgeError(Exception):
    """The judge gave no usable answer. The metric becomes a FAILED score with this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to a judge. `schema` is the JSON Schema of the answer, and `trace` the evaluated trace as an object.

    `seed` makes answers more repeatable if the model supports it.
    """

    metric: str
    prompt: str
    schema: Mapping[str, Any]
    trace: Mapping[str, Any]
    seed: int | None = None


class Judge(ABC):
    """A source of scores and reasons."""

    parallel: int = 1
    """Maximum number of concurrent questions."""

    @property
    @abstractmethod
    def provider(self) -> Provider | None:
        """The provider of this judge; None without a judge."""

    @abstractmethod
    def model(self, requested: str | None) -> str:
        """Return the name of the model for a run."""

    @abstractmethod
    def ask(self, question: Question, model: str | None) -> Mapping[str, Any]:
        """Return the answer to a question. Raises JudgeError."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """Return one vector for each text; None if the judge has no embedding model. Raises JudgeError."""

    def forced(self, metric: str, trace: Mapping[str, Any]) -> tuple[float, str] | None:
        """Return the score and the reason that were set by hand for a metric; usually None."""
        del metric, trace
        return None

    def provider_records(self) -> list[dict[str, Any]]:
        """Return the list of `GET /evaluations/providers`."""
        return [provider.record(available=provider is self.provider) for provider in PROVIDERS]


class NoJudge(Judge):
    """Judge of a server without any provider. Metrics that need a model fail with the real server's message."""

    @property
    def provider(self) -> Provider | None:
        """None: there is no provider."""
        return None

    def model(self, requested: str | None) -> str:
        """Return the requested model, or the real server's default."""
        return requested or f"{VERTEX_AI.key}/gemini-2.5-flash"

    def ask(self, question: Question, model: str | None) -> Mapping[str, Any]:
        """Raise JudgeError."""
        raise JudgeError(provider_of(self.model(model)).missing)

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """Raise JudgeError."""
        raise JudgeError(OPENAI.missing)


def provider_of(model: str) -> Provider:
    """Return the provider named by the prefix of a model, or the default provider without a prefix."""
    return _BY_KEY.get(model.partition("/")[0], VERTEX_AI)


# -- structured answers ------------------------------------------------------------------------------------------------

_FENCE: Final = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)


def schema_of(structure: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of an answer. All fields are required, because strict decoders need that."""
    schema: dict[str, Any] = _strict(structure.model_json_schema())
    return schema


def with_schema(prompt: str, schema: Mapping[str, Any]) -> str:
    """Return a prompt that contains the schema, for models without another way to receive it."""
    return f"{prompt}\n\nThe structure, as JSON Schema:\n{json.dumps(schema)}"


def object_in(content: str) -> Mapping[str, Any]:
    """Return the JSON object that a model wrote, with or without a code fence around it. Raises ValueError."""
    text = content.strip()
    if (fenced := _FENCE.match(text)) is not None:
        text = fenced.group(1)
    value = json.loads(text)
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError("the answer is not a JSON object")


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in cast("Sequence[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    # Bounds and defaults are checked after decoding, since some endpoints do not support them.
    items = cast("dict[str, Any]", schema).items()
    kept = {key: _strict(value) for key, value in items if key not in ("minimum", "maximum", "default")}
    if kept.get("type") == "object":
        kept["required"] = list(kept.get("properties", {}))
        kept["additionalProperties"] = False
    return kept
