"""A poll, which gets a span only if its answer is final: apps send many requests for work that is not done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import ModelCall

from .call import ERROR_STATUS, HttpCall, marked
from .response import content_in_memory, is_in_memory


class LateCall(HttpCall):
    """A call whose span is made when the answer has arrived and is news. The span starts with the request.

    `is_news` decides about the answer. `make` gets the start time (epoch ns) and the answer. A refused request gets no
    span. A request whose body the app reads itself gets none either.
    """

    __slots__ = ("_endpoint", "_is_news", "_make", "_started_ns", "_told")

    def __init__(
        self, owner: object, endpoint: Endpoint, make: Callable[[int, Body], ModelCall], is_news: Callable[[Body], bool]
    ) -> None:
        self.owner = owner
        self._endpoint = endpoint
        self._make = make
        self._is_news = is_news
        self._started_ns = time.time_ns()
        self._told: Body | None = None

    def context(self, context: Context) -> Context:
        """Return the context with this call, and without its span."""
        return marked(self, context)

    def received(self, response: Any, retries_taken: int | None = None, *, refused_is_final: bool = False) -> None:
        """Take the HTTP response."""
        if response.status_code < ERROR_STATUS and is_in_memory(response):
            self._told = content_in_memory(response, self._endpoint)

    def returned(self) -> None:
        """Make the span, if the answer is news."""
        self.owner = None
        if self._told is not None and guarded(self._is_news, self._told):
            call = self._make(self._started_ns, self._told)
            guarded(call.answered, self._told)
            call.end()

    def raised(self, error: BaseException) -> None:
        """Drop the call; a later one may succeed."""
        self.owner = None
