"""`docs/integrations.md`, and the site's page for each integration, from the registry and instrumentors' docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pandaprobe_otel
from docs_pages.examples_page import Example, examples
from docs_pages.markdown import WRITTEN, code, table
from pandaprobe_otel import registry

ROOT: Final = Path(__file__).parents[2]
SNIPPETS: Final = ROOT / "docs" / "snippets"
_BUILT_ON: Final = {"langgraph": "langchain", "deepagents": "langchain"}
"""Frameworks without their own integration, and the integration that records them."""

_WRAPPED: Final = {"google_genai": "gemini", "mistralai": "mistral"}
"""Integrations whose function for one client has the official SDK's name."""

_OPTIONS: Final = "See `Integration` for the options of `instrument()`."

_RIVALS: Final = (
    "While one of these is active, our integration is disabled, and PandaProbe gets the other vendor's spans:"
)

_INTRODUCTION: Final = """\
`init()` records the calls of every installed library below, whether your code imports the library before or after.
`init()` does not import it itself. Your code receives the same objects, with the same types and timing ([the tested
cases](providers.md)).

```python
import pandaprobe_otel

pandaprobe_otel.init(instrument=["openai", "anthropic"])  # only these; False: none; default: all installed ones
pandaprobe_otel.uninstrument("anthropic")  # undoes every change to it
print(pandaprobe_otel.instrument("anthropic").state)  # hooked, adopted, skipped or failed
```

One model call is one span, even if a framework calls a client that is recorded as well. While another vendor's
instrumentation of a library is active, our integration is disabled, and PandaProbe gets the other vendor's spans.
Beside Logfire, our integrations stay enabled, and PandaProbe leaves Logfire's spans of the same calls out. Spans in
OpenTelemetry's GenAI conventions, OpenInference, OpenLLMetry and [other
dialects](../pandaprobe_otel/mapping/dialects) become the same traces ([the tested
instrumentors](live-instrumentors.md)). `pandaprobe-otel doctor` shows the state of each library.

[Agent frameworks](frameworks.md) have a separate page. For a library that is not listed, use
[decorators](decorators.md), or any OpenTelemetry instrumentation of it."""

_TURNING_OFF: Final = """\
## Turning it off

Use `init(exclude=["{name}"])` or `PANDAPROBE_EXCLUDE={name}`. Under OpenTelemetry's launcher, set
`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pandaprobe_{name}`. At any time, you can call
`pandaprobe_otel.uninstrument("{name}")`."""


def pages() -> Mapping[str, str]:
    """Return the text of each path below the site's `docs/`: a page for each integration."""
    return {f"integrations/{name}.md": _page(name) for name in sorted(registry.INTEGRATIONS)}


def overview() -> str:
    """Return `docs/integrations.md`, whose links lead to programs in the repository, and to pages on the site."""
    rows = [
        (
            f'<a id="{name}"></a>[{name}](snippets/{name}.py)',
            _recorded(name).partition("\n\n")[0].partition(". ")[0].rstrip("."),
            f"`{', '.join(_instrumentor(name).requirements)}`",
            ", ".join(f"[{each.path}](../examples/{each.path})" for each in _examples_of(name)),
        )
        for name in sorted(registry.INTEGRATIONS)
    ]
    listed = table(("name", "what is recorded", "oldest version tested", "examples"), rows)
    return f"{WRITTEN}\n\n# Integrations: the libraries that are recorded\n\n{_INTRODUCTION}\n\n{listed}\n"


def _page(name: str) -> str:
    instrumentor = _instrumentor(name)
    module = import_module(instrumentor.__module__)
    recorded = _recorded(name)
    parts = [
        WRITTEN,
        f"# {name}",
        inspect.cleandoc(module.__doc__ or ""),
        f"Recorded: {recorded[0].lower()}{recorded[1:]}",
        code("sh", f'pip install "pandaprobe-otel[{name}]"'),
        "Set `PANDAPROBE_API_KEY` and the program's own keys in the environment:",
        code("python", (SNIPPETS / f"{name}.py").read_text(encoding="utf-8")),
    ]
    if hasattr(registry, wrap := f"wrap_{_WRAPPED.get(name, name)}"):
        home = "pandaprobe_otel" if wrap in pandaprobe_otel.__all__ else "pandaprobe_otel.registry"
        parts.append(f"To record only one client, leave `{name}` out of `instrument` and call `{home}.{wrap}(client)`.")
    if found := _examples_of(name):
        listed = "\n".join(f"- [{each.path}](../{each.page}): {each.shows}" for each in found)
        parts.append(f"Complete programs, which run without a key:\n\n{listed}")
    if rivals := getattr(instrumentor, "rivals", ()):
        listed = "\n".join(f"- {each.vendor} (`{each.module}`)" for each in rivals)
        parts.append(f"## Alongside others\n\n{_RIVALS}\n\n{listed}")
    if repeaters := " and ".join(f"`{each}`" for each in getattr(instrumentor, "repeated_by", ())):
        parts.append(f"Our integration stays enabled beside {repeaters}, whose spans PandaProbe leaves out.")
    if names := [each for each in module.__all__ if not each.endswith("Instrumentor")]:
        imported = f"from {module.__name__} import {', '.join(names)}"
        parts.append(f"## Coming from the official SDK\n\nIts names are available: `{imported}`.")
    return "\n\n".join([*parts, _TURNING_OFF.format(name=name)]) + "\n"


def _recorded(name: str) -> str:
    """Return the docstring of an instrumentor, each paragraph in one line, without the hint at its options."""
    paragraphs = inspect.cleandoc(_instrumentor(name).__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs).removesuffix(_OPTIONS).strip()


def _instrumentor(name: str) -> Any:
    module, _, class_name = registry.INTEGRATIONS[name].partition(":")
    return getattr(import_module(module), class_name)


def _examples_of(name: str) -> list[Example]:
    """Return the examples of an integration: the longest name with which a file's name starts is that of its own."""
    known = {**{name: name for name in registry.INTEGRATIONS}, **_BUILT_ON}

    def integration(example: Example) -> str:
        fitting = [one for one in known if example.path.startswith((f"{one}_", f"{one}."))]
        return known[max(fitting, key=len)] if fitting else ""

    return [each for each in examples() if integration(each) == name]
