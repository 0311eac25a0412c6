"""`docs/integrations.md`, and the site's page for each integration, from the registry and instrumentors' docstrings."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from docs_pages.examples_page import Example, examples
from docs_pages.markdown import WRITTEN, code, table
from pandaprobe_otel import registry

ROOT: Final = Path(__file__).parents[2]
SNIPPETS: Final = ROOT / "docs" / "snippets"
_BUILT_ON: Final = {"langgraph": "langchain", "deepagents": "langchain"}
"""Frameworks without their own integration, and the integration that records them."""

_OPTIONS: Final = "See `Integration` for the options of `instrument()`."

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
            _first_sentence(name),
            f"`{_requirement(name)}`",
            ", ".join(f"[{each.path}](../examples/{each.path})" for each in _examples_of(name)),
        )
        for name in sorted(registry.INTEGRATIONS)
    ]
    listed = table(("name", "what is recorded", "oldest version tested", "examples"), rows)
    return f"{WRITTEN}\n\n# Integrations: the libraries that are recorded\n\n{_INTRODUCTION}\n\n{listed}\n"


def _page(name: str) -> str:
    extra = f"[{name}]" if name in _extras() else ""
    parts = [
        WRITTEN,
        f"# {name}",
        _about(name),
        code("sh", f'pip install "pandaprobe-otel{extra}"'),
        _in_code(name),
        *_rivals(name),
        *_official(name),
        _TURNING_OFF.format(name=name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(name: str) -> str:
    module = inspect.cleandoc(import_module(_instrumentor(name).__module__).__doc__ or "")
    said = inspect.cleandoc(_instrumentor(name).__doc__ or "")
    recorded = _flat(said).removesuffix(_OPTIONS).strip()
    return f"{module}\n\nRecorded: {recorded[0].lower()}{recorded[1:]}"


def _in_code(name: str) -> str:
    parts: list[str] = []
    snippet = SNIPPETS / f"{name}.py"
    if snippet.exists():
        parts.append("Set `PANDAPROBE_API_KEY` and the program's own keys in the environment:")
        parts.append(code("python", snippet.read_text(encoding="utf-8")))
    if (wrap := _wrapper(name)) is not None:
        parts.append(f"To record only one client, leave `{name}` out of `instrument` and call `{wrap}(client)`.")
    if found := _examples_of(name):
        listed = "\n".join(f"- [{each.path}](../{each.page}): {each.shows}" for each in found)
        parts.append(f"Complete programs, which run without a key:\n\n{listed}")
    return "\n\n".join(parts)


def _rivals(name: str) -> list[str]:
    rivals = getattr(_instrumentor(name), "rivals", ())
    if not rivals:
        return []
    listed = "\n".join(f"- {each.vendor} (`{each.module}`)" for each in rivals)
    about = "While one of these is active, our integration is disabled, and PandaProbe gets the other vendor's spans:"
    beside = getattr(_instrumentor(name), "repeated_by", ())
    return [
        f"## Alongside others\n\n{about}\n\n{listed}",
        *(f"Our integration stays enabled beside `{each}`, whose spans PandaProbe leaves out." for each in beside),
    ]


def _official(name: str) -> list[str]:
    """Return the names that apps import from the official SDK: all public ones except the instrumentor."""
    module = import_module(_instrumentor(name).__module__)
    names = [each for each in module.__all__ if not each.endswith("Instrumentor")]
    if not names:
        return []
    imported = f"from {module.__name__} import {', '.join(names)}"
    return [f"## Coming from the official SDK\n\nIts names are available: `{imported}`."]


def _instrumentor(name: str) -> Any:
    module, _, class_name = registry.INTEGRATIONS[name].partition(":")
    return getattr(import_module(module), class_name)


def _requirement(name: str) -> str:
    return ", ".join(_instrumentor(name).requirements)


def _first_sentence(name: str) -> str:
    return (
        _flat(inspect.cleandoc(_instrumentor(name).__doc__ or "").partition("\n\n")[0]).partition(". ")[0].rstrip(".")
    )


def _wrapper(name: str) -> str | None:
    import pandaprobe_otel

    for wrap in (each for each in dir(registry) if each.startswith("wrap_")):
        if f'_wrap("{name}",' in inspect.getsource(getattr(registry, wrap)):
            public = wrap in pandaprobe_otel.__all__
            return f"pandaprobe_otel.{wrap}" if public else f"pandaprobe_otel.registry.{wrap}"
    return None


def _examples_of(name: str) -> list[Example]:
    return [each for each in examples() if _integration_of(each) == name]


def _integration_of(example: Example) -> str | None:
    known = {**{name: name for name in registry.INTEGRATIONS}, **_BUILT_ON}
    fitting = [name for name in known if example.path.startswith((f"{name}_", f"{name}."))]
    return known[max(fitting, key=len)] if fitting else None


def _extras() -> Mapping[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: Mapping[str, Any] = project["optional-dependencies"]
    return extras


def _flat(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
