"""litellm: functions of a module, whose kinds litellm itself lists. They are inspected, not called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

import wrapt

from pandaprobe_otel_integrations.litellm.functions import FUNCTIONS
from surface.census import Library, Method, Roll

_DECORATED: Final = "original_function"


@contextmanager
def _open() -> Iterator[Roll]:
    litellm = import_module("litellm")
    kinds = import_module("litellm.types.utils").CallTypes
    names = sorted({kind.value for kind in kinds if callable(getattr(litellm, kind.value, None))})
    yield Roll(methods=[Method(name, partial(getattr, litellm, name)) for name in names])


def _operation(name: str, decorated: Any) -> str | None:
    """Return the operation of a function, if we have wrapped the function that it calls."""
    found = next((functions[name] for functions in FUNCTIONS.values() if name in functions), None)
    while found is not None and decorated is not None:
        names = decorated.__code__.co_freevars
        if _DECORATED in names:
            called = decorated.__closure__[names.index(_DECORATED)].cell_contents
            return found.endpoint.operation if isinstance(called, wrapt.FunctionWrapper) else None
        decorated = getattr(decorated, "__wrapped__", None)
    return None


LIBRARY: Final = Library(
    integration="litellm",
    distribution="litellm",
    open=_open,
    hooked=_operation,
    left_out={
        "In the words of another API litellm passes a request through.": (
            "*generate_content*",
            "*llm_passthrough_route",
            "anthropic_messages",
        ),
        "Recorded as a call of the client that litellm uses for it, where there is one.": (
            "*compact_responses",
            "*decisions",
            "*extraction",
            "*moderation",
            "*ocr",
            "*systemone",
            "*video_edit",
            "*video_extension",
            "*video_generation",
            "*video_remix",
        ),
        "Connections and sessions of a gateway.": ("_a*", "*realtime_*"),
        "Assistants, batches and training at a provider.": (
            "*_assistant",
            "*_assistants",
            "*_batch",
            "*_fine_tuning_job",
            "*_fine_tuning_jobs",
            "*_message",
            "*_messages",
            "*_thread",
            "*_thread_stream",
        ),
        "What is stored for models to use, searched, or run elsewhere.": (
            "*_container",
            "*_container_file",
            "*_container_files",
            "*_containers",
            "*_sandbox",
            "*_skill",
            "*code",
            "*code_interpreter_tool",
            "*file_*",
            "*create_file",
            "*ingest",
            "*query",
            "*search",
            "*vector_store*",
            "*video_content",
            "*video_create_character",
            "*video_get_character",
            "*video_list",
        ),
        "A response is fetched, stopped or deleted.": (
            "*get_responses",
            "*cancel_responses",
            "*delete_responses",
            "*input_items",
        ),
    },
)
