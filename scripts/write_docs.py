"""Write the pages and arguments that are generated from the source, and the pages that only the site has.

python scripts/write_docs.py    write those in version control, which people read in the repository

`build_docs.py` puts all of them into the tree of the site. A change of the source that would change a page in version
control fails `tests/docs/test_complete.py` until the page is written again.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import fill, indent
from typing import Any, Final

import click

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "integrations"))

from pandaprobe_otel import registry  # noqa: E402
from pandaprobe_otel.bootstrap import CONTENT_SWITCHES  # noqa: E402
from pandaprobe_otel.cli.app import app  # noqa: E402
from pandaprobe_otel.config.settings import OF_RECEIVERS, SETTINGS, Setting  # noqa: E402
from pandaprobe_otel.mapping.dialect_table import MERGED_FIELDS, RANKED_FIELDS, Dialect, EventRow, Row  # noqa: E402
from pandaprobe_otel.mapping.shapes import DIALECTS  # noqa: E402

EXAMPLES: Final = ROOT / "examples"
SNIPPETS: Final = ROOT / "docs/snippets"


def written() -> Mapping[str, str]:
    """Return the text of each generated file in version control, by its path in the repository."""
    return {
        "docs/settings.md": settings_page(),
        "pandaprobe_otel/bootstrap.py": source_of_init(),
        "pandaprobe_otel/sdk/processor.py": source_of_processor(),
        "docs/integrations.md": integrations_page(),
        "docs/command-line.md": command_line_page(),
        "examples/README.md": examples_page(),
    }


def pages_of_site() -> Mapping[str, str]:
    """Return the text of each generated page of the site, by its path below `docs/`."""
    return {
        "examples.md": examples_page(linked=True),
        "dialects.md": dialects_page(),
        "command-line.md": command_line_page(linked=True),
        **{each.page: example_page(each) for each in examples()},
        **{f"integrations/{name}.md": integration_page(name) for name in sorted(registry.INTEGRATIONS)},
        **{f"command-line/{group}.md": group_page(group, found) for group, found in commands().items()},
    }


def page(title: str, *parts: str) -> str:
    """Return a page of Markdown."""
    note = "<!-- Written by scripts/write_docs.py: change the source that it reads, then run it (`make docs`). -->"
    return "\n\n".join([note, f"# {title}", *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with pipes and line breaks in cells escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in row) + " |" for row in rows]
    return "\n".join(lines)


def code(language: str, text: str) -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.strip()}\n```"


def in_code(names: Iterable[object]) -> str:
    """Return names and values as code, in one line, without those that are unset."""
    return ", ".join(f"`{name}`" for name in names if name not in (None, "", ()))


# -- settings --------------------------------------------------------------------------------------------------------

_SETTINGS: Final = """\
The first of these sources that has a value counts:

1. an argument of `init()`,
2. the variable in the table,
3. OpenTelemetry's own variable (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`),
4. the file `~/.pandaprobe/config.yaml`, which the `pandaprobe` command line shares,
5. the default.

An empty variable counts as unset. If a value is invalid, one warning names it and its source, and the default is
used. If the default could send data that you did not want to send, or send it elsewhere (`endpoint`, `project_name`,
`local`), nothing is sent. A variable of OpenTelemetry that its SDK cannot read is named and ignored in the same way.
With `strict=True`, `init()` raises `ConfigError`. Relative paths start from the current directory of `init()`.

`pandaprobe-otel doctor`, and `pandaprobe_otel.status().settings` in the program, show each setting with its value and
its source."""
_ALSO: Final = """\
One argument is not a setting: `tracer_provider`, the provider to join if it is not the global one.

## Variables that `init()` sets

By default, official GenAI instrumentations write no messages, so there would be nothing to read or evaluate. `init()`
therefore sets these variables before it instruments, unless you have set them, or `capture` is `"metadata"` or
`"off"`:"""

_OTHER_ARGUMENTS: Final = (("tracer_provider", "TracerProvider", "Provider to join, if it is not the global one."),)


def settings_page() -> str:
    """Return `docs/settings.md`: every setting, from the table that resolves them."""
    rows = [(f"`{each.name}`", in_code([each.env]), in_code([each.default]), each.doc) for each in SETTINGS]
    switches = [(f"`{name}`", f"`{value}`") for name, value in CONTENT_SWITCHES.items()]
    return page(
        "Settings",
        _SETTINGS,
        table(("`init(...)`", "variable", "default", "meaning"), rows),
        _ALSO,
        table(("variable", "value"), switches),
    )


def source_of_init() -> str:
    """Return `bootstrap.py` with an argument of `init()` for each setting, and a line about it in the docstring."""
    arguments = [(each.name, each.argument, f"{each.doc}{_default_sentence(each)}") for each in SETTINGS]
    arguments += _OTHER_ARGUMENTS
    signature = [f"{name}: {_optional(type_)} = None," for name, type_, _ in arguments]
    meanings = [
        fill(f"{name}: {doc}", 112, subsequent_indent="    ", break_on_hyphens=False) for name, _, doc in arguments
    ]
    text = (ROOT / "pandaprobe_otel/bootstrap.py").read_text(encoding="utf-8")
    text = _between(text, "def init(\n    *,\n", ") -> PandaProbe", _indented(signature, 4))
    return _between(text, "    Args:\n", "\n    Returns:\n        The handle", _indented(meanings, 8))


def source_of_processor() -> str:
    """Return `processor.py` with a key of `ExportSettings` for each setting that a receiver takes."""
    text = (ROOT / "pandaprobe_otel/sdk/processor.py").read_text(encoding="utf-8")
    keys = [f"{each.name}: {_optional(each.argument)}" for each in SETTINGS if each.name in OF_RECEIVERS]
    return _between(text, 'its declaration."""\n\n', "\n\nclass SpanReceiver", _indented(keys, 4))


def _default_sentence(setting: Setting) -> str:
    return f" Default: {shown}." if (shown := in_code([setting.default])) and setting.default is not False else ""


def _optional(type_: str) -> str:
    type_ = type_.replace("'", '"')  # as it stands in an annotation
    return type_ if type_ == "Any" or type_.endswith("None") else f"{type_} | None"


def _indented(lines: list[str], spaces: int) -> str:
    return indent("\n".join(lines), " " * spaces) + "\n"


def _between(text: str, start: str, end: str, middle: str) -> str:
    """Return the text with this middle after the first `start` and before the next `end`."""
    before, found, rest = text.partition(start)
    return f"{before}{found}{middle}{rest[rest.index(end) :]}"


# -- the command line ------------------------------------------------------------------------------------------------

_COMMANDS: Final = """\
```sh
pip install "pandaprobe-otel[cli]"
pandaprobe-otel --help
```

Standard output has the result: tables for people, or JSON for programs (`--format json`). Everything else goes to
standard error.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | general failure; also: a case failed, or a threshold was missed |
| 2 | credentials |
| 3 | not found |
| 4 | bad input or settings |
| 5 | another error of the API |
| 6 | no evidence: in an evaluation, nothing failed, but not everything was judged |
| 130 | interrupted |

[API client](client.md#in-the-shell) has examples. `pandaprobe-otel COMMAND --help` explains the options. For completion
in bash, zsh or fish, put the output of `_PANDAPROBE_OTEL_COMPLETE=bash_source pandaprobe-otel` (`zsh_source`,
`fish_source`) into the shell's configuration."""


def command_line_page(*, linked: bool = False) -> str:
    """Return `docs/command-line.md`, the table of commands; with links to the site's pages if they are wanted."""
    rows = [
        (f"[`{name}`](command-line/{group}.md#{name.replace(' ', '-')})" if linked else f"`{name}`", _does(context))
        for group, found in commands().items()
        for name, context in found.items()
    ]
    return page("Command line", _COMMANDS, table(("command", "does"), rows))


def group_page(group: str, found: Mapping[str, click.Context]) -> str:
    """Return the site's page of a group of commands: what `--help` prints for each."""
    parts = (f"## {name}\n\n{code('text', context.get_help())}" for name, context in found.items())
    return page(f"pandaprobe-otel {group.replace('-', ' ')}", *parts)


def commands() -> Mapping[str, Mapping[str, click.Context]]:
    """Return the commands by page and name: `scores sessions list` is on `scores-sessions`, and `view` on `view`."""
    root = click.Context(app, info_name="pandaprobe-otel", max_content_width=100, **app.context_settings)
    found: dict[str, dict[str, click.Context]] = {}
    for context in sorted(_below(root), key=lambda each: each.command_path):
        _, *words = context.command_path.split()
        name = " ".join(words)
        found.setdefault("-".join(words[:-1] or words), {})[name] = context
    return found


def _below(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from _below(click.Context(child, info_name=name, parent=context, **child.context_settings))


def _does(context: click.Context) -> str:
    """Return the first sentence of a command's help, in which adjacent brackets are not a link."""
    text = re.split(r"(?<=\.)\s", " ".join((context.command.help or "").split()))[0]
    return re.sub(r"\]\s+\[", r"] \\[", re.sub(r"<(\w+)>", r"\\<\1>", text))


# -- examples --------------------------------------------------------------------------------------------------------

_EXAMPLES: Final = """\
Each example is one file. Without keys, it runs offline in seconds: a scripted model answers, and the traces go to a
PandaProbe that the example starts itself. The last lines show the received traces, and the command that displays them.
With the keys in the environment, the same file calls the real model and sends to your PandaProbe. `nox -s
examples` runs each example outside the repository, in an environment with only the packages that its first lines
install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The description of a file in `examples/`, from its first text."""

    path: str
    """Path below `examples/`."""
    about: str
    """The first text: what it shows, what to install, how to run it, and which keys it needs."""
    source: str

    @property
    def page(self) -> str:
        """Path of its page below `docs/`."""
        return f"examples/{Path(self.path).with_suffix('.md').as_posix()}"

    @property
    def shows(self) -> str:
        """The first paragraph of its description."""
        return " ".join(self.about.partition("\n\n")[0].removeprefix("# ").split()).rstrip(":")

    @property
    def needs(self) -> str:
        """The packages that it tells the reader to install."""
        found = re.search(r"pip install ([^`\n]+)", self.about)
        return found[1].strip() if found else ""


def examples() -> list[Example]:
    """Return all examples, the quickstart first."""
    found = [path for ending in ("py", "ipynb", "yaml", "json") for path in EXAMPLES.rglob(f"*.{ending}")]
    return sorted((_read(path) for path in found), key=lambda each: (each.path != "quickstart.py", each.path))


def _read(path: Path) -> Example:
    """Read an example. Raises ValueError for a file without a description."""
    text = source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            about = ast.get_docstring(ast.parse(text)) or ""
        case ".ipynb":
            cells = json.loads(text)["cells"]
            about = "".join(cells[0]["source"])
            source = "\n\n".join("".join(each["source"]) for each in cells if each["cell_type"] == "code")
        case ".json":
            about, source = json.loads(text)["description"], ""
        case _:
            about = "\n".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    if not about:
        raise ValueError(f"{path} has no description in its docstring or first comment")
    return Example(path=path.relative_to(EXAMPLES).as_posix(), about=about, source=source)


def examples_page(*, linked: bool = False) -> str:
    """Return `examples/README.md`; with links to the site's pages if they are wanted, the site's table."""
    rows = [
        (
            f"[{each.path}]({each.page if linked else each.path})",
            each.shows,
            in_code([each.needs]),
            in_code(dict.fromkeys(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*_KEY(?:_ID)?\b", each.about))),
        )
        for each in examples()
    ]
    head = ("file", "what it shows", "needs", "keys, to run it for real")
    return page("Examples", _EXAMPLES, table(head, rows))


def example_page(example: Example) -> str:
    """Return the site's page of an example, with its source."""
    language = "yaml" if example.path.endswith("yaml") else "python"
    shown = code(f'{language} title="examples/{example.path}"', example.source)
    long = f"The file is long: see `examples/{example.path}`."
    return page(example.path, example.shows, shown if example.source else long)


# -- integrations ----------------------------------------------------------------------------------------------------

_BUILT_ON: Final = {"langgraph": "langchain", "deepagents": "langchain"}
"""Frameworks without their own integration, and the integration that records them."""

_INTEGRATIONS: Final = """\
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
_RIVALS: Final = "While an instrumentor in one of these modules is active, ours is off, and PandaProbe gets its spans:"
_TURNING_OFF: Final = """\
## Turning it off

Use `init(exclude=["{name}"])` or `PANDAPROBE_EXCLUDE={name}`. Under OpenTelemetry's launcher, set
`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pandaprobe_{name}`. At any time, you can call
`pandaprobe_otel.uninstrument("{name}")`."""


def integrations_page() -> str:
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
    head = ("name", "what is recorded", "oldest version tested", "examples")
    return page("Integrations: the libraries that are recorded", _INTEGRATIONS, table(head, rows))


def integration_page(name: str) -> str:
    """Return the site's page of an integration, from the registry and the instrumentor's docstrings."""
    instrumentor = _instrumentor(name)
    module = import_module(instrumentor.__module__)
    recorded = _recorded(name)
    parts = [
        inspect.cleandoc(module.__doc__ or ""),
        f"Recorded: {recorded[0].lower()}{recorded[1:]}",
        code("sh", f'pip install "pandaprobe-otel[{name}]"'),
        "Set `PANDAPROBE_API_KEY` and the program's own keys in the environment:",
        code("python", (SNIPPETS / f"{name}.py").read_text(encoding="utf-8")),
    ]
    if name in registry.WITH_CLIENTS:
        parts.append(
            f"To record only one client, leave `{name}` out of `instrument` and call `pandaprobe_otel.wrap(client)`."
        )
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
    return page(name, *parts, _TURNING_OFF.format(name=name))


def _recorded(name: str) -> str:
    """Return the docstring of an instrumentor, each paragraph in one line, without the hint at its options."""
    paragraphs = inspect.cleandoc(_instrumentor(name).__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    return text.removesuffix("See `Integration` for the options of `instrument()`.").strip()


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


# -- dialects --------------------------------------------------------------------------------------------------------

_DIALECTS: Final = """\
Instrumentations write the same facts under different names. This page lists, for each field of a PandaProbe trace,
every attribute that can fill it, best first. It is generated from the tables that the mapping reads; to change it,
change a table in `pandaprobe_otel/mapping/dialects/` and run `python scripts/write_docs.py`.

How to read it:

- The first attribute of a field that has a value fills it. Empty texts, `null`, `{}`, `[]` and placeholders such as
  `<elided>` are not values.
- `name.*` is every attribute below that prefix, read as one tree.
- *Last resort* sources are used only if no other source of the field has a value: they hold whole requests,
  responses or arguments rather than messages.
- *Merged*: all attributes contribute, and the first one wins if two have the same key. *Ranked*: the best attribute of
  any span of the trace wins; among equals, the root's.
- Fields of kinds (`tool.`, `embedding.`, `query`, `documents`) come before `input` and `output` in spans of this kind.
- Attributes may hold JSON text or the value itself; both are read.
- Attributes that no row reads are kept under `metadata.attributes`, whether they are yours or belong to a vocabulary
  below. [Exceptions](recorded.md) are listed."""
_KINDS: Final = """\
## Kinds

The first rule that gives a kind decides. OpenTelemetry's own span kind, HTTP attributes and token counts are not used.
If no rule gives one, these attributes of the span decide, in this order: those of embeddings, those of retrieval, a
model's name, indexed prompts, the name of a vector database. All other spans are OTHER."""


def dialects_page() -> str:
    """Return the site's `dialects.md`: every attribute that the mapping reads, from the tables that it reads."""
    known = [
        (
            dialect.title,
            ", ".join(filter(None, (*(f"scope `{scope}`" for scope in dialect.scopes), in_code(dialect.namespaces)))),
            dialect.note,
        )
        for dialect in DIALECTS
    ]
    rules = sorted(
        (rule for dialect in DIALECTS for rule in dialect.kinds), key=lambda rule: (not rule.states, not rule.attribute)
    )
    kinds = [
        (
            f"`{rule.attribute}`" if rule.attribute else "name and scope",
            "; ".join([*(f"`{value}`: {kind}" for value, kind in rule.values.items()), rule.note]).strip("; "),
        )
        for rule in rules
    ]
    return page(
        "Dialects",
        _DIALECTS,
        "## Order",
        table(("dialect", "known by", "note"), known),
        _KINDS,
        table(("attribute", "kinds"), kinds),
        "## Fields",
        table(("field", "attributes", "dialect", "note"), _fields()),
    )


def _fields() -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each source of each field, from the best one to the last resort."""
    found: list[tuple[Row | EventRow, Dialect]] = []
    for dialect in DIALECTS:
        found += [(row, dialect) for row in dialect.rows]
        found += [(event, dialect) for event in dialect.events]
    for field in dict.fromkeys(row.field for row, _ in found):
        how = " (merged)" if field in MERGED_FIELDS else " (ranked)" if field in RANKED_FIELDS else ""
        for row, dialect in sorted((each for each in found if each[0].field == field), key=lambda each: each[0].late):
            names = f"event {in_code(row.names)}" if isinstance(row, EventRow) else in_code(row.sources)
            note = "; ".join(filter(None, ("*last resort*" if row.late else "", row.note)))
            yield f"`{field}`{how}", names, dialect.title, note
            how = ""


if __name__ == "__main__":
    for path, text in written().items():
        (ROOT / path).write_text(text, encoding="utf-8")
