"""A judge behind any OpenAI-compatible endpoint: the hosted ones, a gateway, or a model on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from pandaprobe_otel.local.evaluation.answers import object_in, with_schema
from pandaprobe_otel.local.evaluation.catalogue import OPENAI, PROVIDERS, Provider
from pandaprobe_otel.local.evaluation.judge import Judge, JudgeError, Question

_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 120.0
_RETRY_STATUSES: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_MAX_WAIT_S: Final = 20.0
_OTHER_PROVIDERS: Final = {provider.key: provider for provider in PROVIDERS if provider is not OPENAI}
# From the most to the least that an endpoint may understand; the answer is checked whichever it was.
_MODES: Final = ("json_schema", "json_object", "text")


class HttpJudge(Judge):
    """Asks `{url}/chat/completions`, and `{url}/embeddings` when there is an embedding model.

    url: base URL such as `https://api.openai.com/v1`. A question is tried three times; an answer that is no JSON of
    the wanted structure fails the metric.
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
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT_S)
        self._model = model
        self._embedding_model = embedding_model
        self._sleep = sleep
        self._mode = 0
        self._vectors: dict[str, Sequence[float]] = {}
        self._lock = threading.Lock()

    @property
    def provider(self) -> Provider | None:
        """OpenAI, as the real server calls every compatible endpoint."""
        return OPENAI

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def model(self, requested: str | None) -> str:
        """Return the requested model, or the configured one, with its provider."""
        if requested:
            return requested
        return self._model if "/" in self._model else f"{OPENAI.key}/{self._model}"

    def ask(self, question: Question, model: str | None) -> Mapping[str, Any]:
        """Ask, and return the object that was answered; raises JudgeError."""
        name = self.model(model)
        prefix, _, rest = name.partition("/")
        if prefix in _OTHER_PROVIDERS:
            raise JudgeError(_OTHER_PROVIDERS[prefix].missing)
        served = rest if prefix == OPENAI.key and rest else name
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                return object_in(self._completion(question, served))
            except (_UnusableError, ValueError) as error:
                problem = str(error)
        raise JudgeError(f"LLM call to {name} failed after {_ATTEMPTS} attempts: {problem}")

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """Return a vector for each text; None without an embedding model; raises JudgeError."""
        if self._embedding_model is None:
            return None
        missing = sorted({text for text in texts if text not in self._vectors})
        if missing:
            try:
                answer = self._post("/embeddings", {"model": self._embedding_model, "input": missing})
                vectors = [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]
            except (_UnusableError, KeyError, TypeError) as error:
                raise JudgeError(f"Embedding call to {self._embedding_model} failed: {error}") from None
            with self._lock:
                if len(self._vectors) > 2000:
                    self._vectors.clear()
                self._vectors.update(zip(missing, vectors, strict=True))
        with self._lock:
            return [self._vectors[text] for text in texts]

    def _completion(self, question: Question, model: str) -> str:
        while True:
            mode = self._mode
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question.prompt}]}
            if _MODES[mode] == "json_schema":
                schema = {"name": question.metric, "schema": question.schema, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
            else:
                body["messages"][0]["content"] = with_schema(question.prompt, question.schema)
                if _MODES[mode] == "json_object":
                    body["response_format"] = {"type": "json_object"}
            try:
                answer = self._post("/chat/completions", body)
            except _NotUnderstoodError as error:
                if mode + 1 == len(_MODES):
                    raise _UnusableError(str(error)) from None
                self._mode = max(self._mode, mode + 1)
                continue
            try:
                content = answer["choices"][0]["message"]["content"]
            except (KeyError, IndexError, TypeError):
                raise _UnusableError("the answer has no message") from None
            return content if isinstance(content, str) else ""

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        problem = ""
        for attempt in range(_ATTEMPTS):
            try:
                response = self._client.post(path, json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return _json_of(response)
                problem = f"HTTP {response.status_code}: {response.text[:300]}"
                if response.status_code in (400, 422):
                    raise _NotUnderstoodError(problem)
                if response.status_code not in _RETRY_STATUSES:
                    raise _UnusableError(problem)
            if attempt + 1 < _ATTEMPTS:
                self._sleep(min(2.0**attempt, _MAX_WAIT_S))
        raise _UnusableError(problem)


class _UnusableError(Exception):
    """No usable answer."""


class _NotUnderstoodError(_UnusableError):
    """The endpoint refused the form of the request."""


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise _UnusableError("the answer is no JSON") from None
