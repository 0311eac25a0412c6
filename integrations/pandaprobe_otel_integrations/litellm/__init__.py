"""OpenTelemetry spans for `litellm`: one for each model call, for any client underneath."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from pandaprobe_otel_integrations._integration import Integration, Outcome
from pandaprobe_otel_integrations._patching import Undoable, patch, patch_inside
from pandaprobe_otel_integrations._rivals import Rival

from .functions import FUNCTIONS, STREAMS
from .hooks import CallHooks, StreamHooks
from .own_spans import makes_own_spans

__all__ = ["LiteLLMInstrumentor"]


class LiteLLMInstrumentor(Integration):
    """Completions, responses, embeddings, reranking, pictures and sound, sync and async, streamed or not,
    also through a Router.

    Each attempt of a Router, and each of litellm's retries and fallbacks, is a call with its own span. Answers from
    litellm's cache have none. While litellm's callback "otel" is active, its spans are used instead. See
    `Integration` for the options of `instrument()`.
    """

    library = "litellm"
    requirements = ("litellm >= 1.100",)
    hooked_modules = (*FUNCTIONS, *STREAMS)
    rivals = (
        Rival(vendor="OpenInference", module="openinference.instrumentation.litellm", class_name="LiteLLMInstrumentor"),
    )

    @property
    def outcome(self) -> Outcome:
        """The current state of the instrumentation; `adopted` while litellm makes spans itself."""
        found = super().outcome
        if found.state == "hooked" and makes_own_spans(sys.modules.get("litellm")):
            return Outcome(state="adopted", reason='litellm makes spans itself (its callback "otel")')
        return found

    def watch_client(self, client: Any) -> None:
        """Record every call: litellm has no clients, and a Router calls the module's functions."""
        self._every_client = True

    def _lets_through(self, client: Any) -> bool:
        return super()._lets_through(client) and not makes_own_spans(sys.modules.get("litellm"))

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        for name in STREAMS.get(module.__name__, ()):
            yield from _stream_patches(getattr(module, name), StreamHooks())
        hooks = CallHooks(self._recorder, self._lets_through)
        for name, function in FUNCTIONS.get(module.__name__, {}).items():
            wrapper = hooks.asynchronous(function) if name.startswith("a") else hooks.synchronous(function)
            if function.is_everywhere or getattr(module, name, None) is not None:
                yield patch_inside(getattr(module, name), "original_function", wrapper)


def _stream_patches(kind: Any, hooks: StreamHooks) -> Iterable[Undoable]:
    methods = {"__next__": hooks.next, "__anext__": hooks.next_async, "close": hooks.close, "aclose": hooks.close}
    for name, hook in methods.items():
        if name in kind.__dict__:  # old versions cannot be closed, and some streams support only one way of reading
            yield patch(kind, name, hook)
