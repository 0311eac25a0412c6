"""`docs/command-line.md` and a page for each group of commands, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

from docs_pages.markdown import WRITTEN, code, table
from pandaprobe_otel.cli.app import app

_INTRODUCTION = """\
```sh
pip install "pandaprobe-otel[cli]"
pandaprobe-otel --help
```

JSON for programs (`--format json`) and tables for people go to standard output, everything else to standard error.

| exit code | means |
|---|---|
| 0 | ok |
| 1 | general; also: a case failed, or a threshold was missed |
| 2 | credentials |
| 3 | not found |
| 4 | bad input or settings |
| 5 | another answer of the API |
| 6 | no evidence: in an evaluation nothing failed, and not all was judged |
| 130 | interrupted |

[API client](client.md#in-the-shell) shows the commands at work."""


def pages() -> Mapping[str, str]:
    """Return the text of each path below `docs/`: the table of commands, and a page for each group."""
    rows = [
        (f"[`{_name(context)}`](command-line/{group}.md#{_name(context).replace(' ', '-')})", _first_sentence(command))
        for group, found in groups().items()
        for command, context in found
    ]
    listed = table(("command", "does"), rows)
    return {
        "command-line.md": f"{WRITTEN}\n\n# Command line\n\n{_INTRODUCTION}\n\n{listed}\n",
        **{f"command-line/{group}.md": _page(group, found) for group, found in groups().items()},
    }


def groups() -> Mapping[str, list[tuple[click.Command, click.Context]]]:
    """Return the commands by their page: `scores-sessions` for `scores sessions list`, `view` for `view`."""
    found: dict[str, list[tuple[click.Command, click.Context]]] = {}
    for command, context in sorted(commands(), key=lambda each: _name(each[1])):
        words = _name(context).split()
        found.setdefault("-".join(words[:-1] or words), []).append((command, context))
    return found


def _page(group: str, found: list[tuple[click.Command, click.Context]]) -> str:
    rows = [_rows(command, context) for command, context in found]
    common = [row for row in rows[0] if all(row in others for others in rows)] if len(rows) > 1 else []
    parts = [WRITTEN, f"# pandaprobe-otel {group.replace('-', ' ')}"]
    if common:
        parts += ["Options of each of these commands:", table(("option", "meaning"), common)]
    for (command, context), own in zip(found, rows, strict=True):
        parts.append(_section(command, context, [row for row in own if row not in common]))
    return "\n\n".join(parts) + "\n"


def _name(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def _first_sentence(command: click.Command) -> str:
    return _prose(re.split(r"(?<=\.)\s", " ".join((command.help or "").split()))[0])


def commands() -> Iterator[tuple[click.Command, click.Context]]:
    """Return every command that does something, with the context of its name: the shortest if it has several."""
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


def _rows(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    return [_row(each, context) for each in command.params if isinstance(each, click.Option) and not each.hidden]


def _section(command: click.Command, context: click.Context, options: list[tuple[str, str]]) -> str:
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    parts = [f"## {_name(context)}", _help(command), code("text", usage)]
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
    return re.sub(r"<(\w+)>", r"\\<\1>", text)  # angle brackets would be HTML


def _row(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    names, meaning = record if record is not None else (", ".join(option.opts), "")
    return f"`{names}`", _prose(meaning)
