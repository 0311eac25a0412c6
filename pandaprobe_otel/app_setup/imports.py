"""Names that a module imports, and their meaning for tracing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Final

from pandaprobe_otel.app_setup.sources import Source, Sources
from pandaprobe_otel.registry import LIBRARIES

_ALSO: Final[Mapping[str, str]] = {
    "boto3": "bedrock",
    "google.generativeai": "google_genai",
    "langchain": "langchain",
    "langgraph": "langchain",
    "llama_index": "llama_index",
}
"""Other modules that only users of an integration's library import."""
OTHERS: Final[Mapping[str, str]] = {
    "langfuse": "Langfuse",
    "logfire": "Logfire",
    "phoenix": "Phoenix",
    "langsmith": "LangSmith",
    "traceloop": "OpenLLMetry",
    "braintrust": "Braintrust",
    "pandaprobe": "the official SDK of PandaProbe",
}
"""Other tracing products, by module."""
_INSTRUMENTORS: Final = ("openinference.instrumentation", "traceloop", "opentelemetry.instrumentation")
_NOT_OF_MODELS: Final = frozenset(
    {"fastapi", "flask", "django", "asgi", "wsgi", "requests", "httpx", "urllib3", "sqlalchemy", "logging", "redis"}
)


def imported(tree: ast.Module) -> frozenset[str]:
    """Return the dotted names that a module imports, including imports in functions. Relative names begin with dots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            before = f"{module}." if node.module else module
            names.update([module, *(f"{before}{alias.name}" for alias in node.names)])
    return frozenset(names)


def libraries_in(names: Iterable[str]) -> frozenset[str]:
    """Return the integrations whose libraries are among imported names."""
    prefixes = [*((module, name) for name, module in LIBRARIES.items()), *_ALSO.items()]
    return frozenset(name for module, name in prefixes for each in names if _is_in(each, module))


def other_products(names: Iterable[str]) -> frozenset[str]:
    """Return the other tracing products among imported names."""
    return frozenset(product for module, product in OTHERS.items() for each in names if _is_in(each, module))


def has_model_instrumentation(names: Iterable[str]) -> bool:
    """Return whether another OpenTelemetry instrumentation of a model or framework is imported."""
    return any(
        _is_in(name, prefix) and name.removeprefix(prefix).lstrip(".").partition(".")[0] not in _NOT_OF_MODELS | {""}
        for name in names
        for prefix in _INSTRUMENTORS
    )


def reached(start: Source, sources: Sources) -> frozenset[str]:
    """Return the imports of a module and of the project's modules that it imports."""
    by_module = {source.module: source for source in sources.files}
    seen: dict[str, frozenset[str]] = {}
    waiting = [start]
    while waiting:
        source = waiting.pop()
        if source.module in seen:
            continue
        names = seen[source.module] = frozenset(_absolute(name, source) for name in imported(source.tree))
        waiting.extend(by_module[name] for name in names if name in by_module)
    return frozenset[str]().union(*seen.values())


def _absolute(name: str, source: Source) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    package = source.module.split(".") if source.path.name == "__init__.py" else source.module.split(".")[:-1]
    base = package[: len(package) - level + 1]
    return ".".join([*base, name.lstrip(".")] if name.lstrip(".") else base)


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
