"""Interface of judges, which answer questions about traces in a given structure and may turn texts into vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.local.evaluation.catalogue import OPENAI, PROVIDERS, VERTEX_AI, Provider

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """A score that was set for a scripted judge."""

    score: float
    reason: str


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

    def forced(self, metric: str, trace: Mapping[str, Any]) -> Forced | None:
        """Return the score that was set by hand for a metric; usually None."""
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
