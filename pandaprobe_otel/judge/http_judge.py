"""Judge behind an HTTP endpoint of a provider, a gateway, or a model on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation

from pandaprobe_otel.judge.judge import OPENAI, PROVIDERS, Judge, JudgeError, Provider, Question, object_in, with_schema
from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.protocol import QuestionProtocol, StructuredQuestion, UnusableAnswerError
from pandaprobe_otel.transport.outcome import Redaction

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 120.0
_RETRY_STATUSES: Final = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_MAX_WAIT_S: Final = 20.0
_PROVIDERS: Final = {provider.key: provider for provider in PROVIDERS}


class HttpJudge(Judge):
    """A judge that calls a model through its endpoint's own API. It also returns vectors if there is an embedding
    model.

    url: base URL such as `https://api.openai.com/v1`.
    named_by: the provider that prefixes the names of its models, as in `openai/gpt-4o`, if the endpoint expects names
    without the prefix. None: the endpoint expects the full names.

    A question is tried three times. The metric fails if the answer is not JSON of the requested structure.
    """

    parallel = 4

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        model: str,
        embedding_model: str | None,
        sleep: Callable[[float], None] = time.sleep,
        protocol: QuestionProtocol = CHAT,
        named_by: Provider | None = OPENAI,
    ) -> None:
        self._protocol = protocol
        self._named_by = named_by
        headers = protocol.key_headers(key) if key else {}
        self._redaction = Redaction()
        self._redaction.learn({"x-api-key": key or ""})
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT_S)
        self._model = model
        self._embedding_model = embedding_model
        self._sleep = sleep
        self._mode = 0
        self._vectors: dict[str, Sequence[float]] = {}
        self._lock = threading.Lock()

    @property
    def provider(self) -> Provider | None:
        """The provider OpenAI, since the real server gives this name to every compatible endpoint."""
        return OPENAI

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def model(self, requested: str | None) -> str:
        """Return the requested model or the configured one, with its provider."""
        if requested or self._named_by is None:
            return requested or self._model
        return self._model if "/" in self._model else f"{self._named_by.key}/{self._model}"

    def ask(self, question: Question, model: str | None) -> Mapping[str, Any]:
        """Return the object with which the model answered. Raises JudgeError."""
        name = self.model(model)
        served = self._served(name)
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                return object_in(self._completion(question, served))
            except ValueError as error:
                problem = str(error)
        raise JudgeError(f"LLM call to {name} failed after {_ATTEMPTS} attempts: {problem}")

    def _served(self, name: str) -> str:
        prefix, _, rest = name.partition("/")
        if self._named_by is None or prefix not in _PROVIDERS:
            return name
        if prefix != self._named_by.key:
            raise JudgeError(_PROVIDERS[prefix].missing)
        return rest or name

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """Return a vector for each text; None without an embedding model. Raises JudgeError."""
        if self._embedding_model is None:
            return None
        missing = sorted({text for text in texts if text not in self._vectors})
        if missing:
            try:
                path, body = self._protocol.write_embedding(missing, self._embedding_model)
                vectors = self._protocol.read_vectors(self._post(path, body))
            except (UnusableAnswerError, KeyError, TypeError) as error:
                raise JudgeError(f"Embedding call to {self._embedding_model} failed: {error}") from None
            if len(vectors) != len(missing):
                raise JudgeError(
                    f"Embedding call to {self._embedding_model} failed: it returned {len(vectors)} vectors for "
                    f"{len(missing)} texts"
                )
            with self._lock:
                if len(self._vectors) > 2000:
                    self._vectors.clear()
                self._vectors.update(zip(missing, vectors, strict=True))
        with self._lock:
            return [self._vectors[text] for text in texts]

    def _completion(self, question: Question, model: str) -> str:
        asked = StructuredQuestion(
            name=question.metric,
            prompt=question.prompt,
            in_words=with_schema(question.prompt, question.schema),
            schema=question.schema,
            seed=question.seed,
        )
        path = self._protocol.path(model, is_stream=False)
        while True:
            mode = self._mode
            try:
                return self._protocol.read_text(self._post(path, self._protocol.write_question(asked, model, mode)))
            except _NotUnderstoodError:
                if mode + 1 == self._protocol.modes:
                    raise
                self._mode = max(self._mode, mode + 1)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        problem = ""
        for attempt in range(_ATTEMPTS):
            try:
                with suppress_instrumentation():  # The judge is part neither of the judged run nor of its recording.
                    response = self._client.post(path, json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return _json_of(response)
                problem = f"HTTP {response.status_code}: {self._redaction.without(response.text)[:300]}"
                if response.status_code in (400, 422):
                    raise _NotUnderstoodError(problem)
                if response.status_code not in _RETRY_STATUSES:
                    raise UnusableAnswerError(problem)
            if attempt + 1 < _ATTEMPTS:
                self._sleep(min(2.0**attempt, _MAX_WAIT_S))
        raise UnusableAnswerError(problem)


class _NotUnderstoodError(UnusableAnswerError):
    """The endpoint refused the form of the request."""


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise UnusableAnswerError("the answer is not JSON") from None
