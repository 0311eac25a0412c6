"""`docs/command-line.md`, and the site's page for each group of commands, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

from docs_pages.markdown import WRITTEN, code, table
from pandaprobe_otel.cli.app import app

_CONNECTION = ("--project", "--endpoint", "--api-key", "--timeout")

_INTRODUCTION = """\
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

[API client](client.md#in-the-shell) has examples. `pandaprobe-otel COMMAND --help` explains the options."""


def overview(*, linked: bool = False) -> str:
    """Return `docs/command-line.md`, the table of commands; with links to the site's pages if they are wanted."""
    rows = [
        (f"[`{name}`](command-line/{group}.md#{name.replace(' ', '-')})" if linked else f"`{name}`", does)
        for group, found in groups().items()
        for name, does in ((_name(context), _first_sentence(command)) for command, context in found)
    ]
    listed = table(("command", "does"), rows)
    return f"{WRITTEN}\n\n# Command line\n\n{_INTRODUCTION}\n\n{listed}\n"


def pages() -> Mapping[str, str]:
    """Return the text of each path below the site's `docs/`: a page for each group of commands."""
    return {f"command-line/{group}.md": _page(group, found) for group, found in groups().items()}


def groups() -> Mapping[str, list[tuple[click.Command, click.Context]]]:
    """Return the commands by page: `scores sessions list` is on `scores-sessions`, and `view` on `view`."""
    found: dict[str, list[tuple[click.Command, click.Context]]] = {}
    for command, context in sorted(commands(), key=lambda each: _name(each[1])):
        words = _name(context).split()
        found.setdefault("-".join(words[:-1] or words), []).append((command, context))
    return found


def _page(group: str, found: list[tuple[click.Command, click.Context]]) -> str:
    sections = [_section(command, context) for command, context in found]
    connecting = next((each for each in found if _connection(each[0])), None)
    if connecting is not None:
        rows = (_row(each, connecting[1]) for each in _connection(connecting[0]))
        sections.append(f"## Connection\n\n{table(('option', 'meaning'), rows)}")
    return "\n\n".join([WRITTEN, f"# pandaprobe-otel {group.replace('-', ' ')}", *sections]) + "\n"


def _connection(command: click.Command) -> list[click.Option]:
    """Return the connection options, which a page explains once, or an empty list for commands without them."""
    found = [each for each in command.params if isinstance(each, click.Option) and each.opts[0] in _CONNECTION]
    return found if len(found) == len(_CONNECTION) else []


def _name(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def _first_sentence(command: click.Command) -> str:
    return _prose(re.split(r"(?<=\.)\s", " ".join((command.help or "").split()))[0])


def commands() -> Iterator[tuple[click.Command, click.Context]]:
    """Return every executable command with the context of its shortest name."""
    found = list(_below(app, click.Context(app, info_name="pandaprobe-otel", **app.context_settings)))
    shortest = {id(command): context.command_path for command, context in sorted(found, key=_length, reverse=True)}
    return (each for each in found if each[1].command_path == shortest[id(each[0])])


def _length(found: tuple[click.Command, click.Context]) -> int:
    return len(found[1].command_path)


def _below(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    if not isinstance(command, click.Group):
        yield command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from _below(child, click.Context(child, info_name=name, parent=context, **child.context_settings))


def _section(command: click.Command, context: click.Context) -> str:
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    parts = [f"## {_name(context)}", _help(command), code("text", usage)]
    shared = _connection(command)
    own = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    options = [_row(each, context) for each in own if each not in shared]
    if shared:
        options.append((", ".join(f"`{each.opts[0]}`" for each in shared), "[connection](#connection)"))
    if options:
        parts.append(table(("option", "meaning"), options))
    return "\n\n".join(parts)


def _help(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").replace("\f", "").split("\n\n")
    return "\n\n".join(_paragraph(each.strip("\n")) for each in paragraphs if each.strip())


def _paragraph(text: str) -> str:
    # Text that click must not wrap is shown unchanged.
    return code("text", text[1:]) if text.startswith("\b") else _prose(text)


def _prose(text: str) -> str:
    escaped = re.sub(r"<(\w+)>", r"\\<\1>", text)  # Angle brackets would be HTML.
    return re.sub(r"\]\s+\[", r"] \\[", escaped)  # Two adjacent brackets would be a link.


def _row(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    names, meaning = record if record is not None else (", ".join(option.opts), "")
    return f"`{names}`", _prose(meaning)
