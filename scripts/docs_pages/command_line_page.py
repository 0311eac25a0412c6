"""`docs/command-line.md`, and the site's page for each group of commands, from the commands themselves."""

from __future__ import annotations

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
        (f"[`{name}`](command-line/{group}.md#{name.replace(' ', '-')})" if linked else f"`{name}`", _does(context))
        for group, found in groups().items()
        for name, context in found.items()
    ]
    listed = table(("command", "does"), rows)
    return f"{WRITTEN}\n\n# Command line\n\n{_INTRODUCTION}\n\n{listed}\n"


def pages() -> Mapping[str, str]:
    """Return the text of each path below the site's `docs/`: for each group, what `--help` prints for its commands."""
    return {
        f"command-line/{group}.md": "\n\n".join(
            [
                WRITTEN,
                f"# pandaprobe-otel {group.replace('-', ' ')}",
                *(f"## {name}\n\n{code('text', context.get_help())}" for name, context in found.items()),
            ]
        )
        + "\n"
        for group, found in groups().items()
    }


def groups() -> Mapping[str, Mapping[str, click.Context]]:
    """Return the commands by page and name: `scores sessions list` is on `scores-sessions`, and `view` on `view`.

    A command with two names has the shorter one.
    """
    root = click.Context(app, info_name="pandaprobe-otel", max_content_width=100, **app.context_settings)
    shortest: dict[int, click.Context] = {}
    for context in sorted(_below(root), key=lambda each: len(each.command_path)):
        shortest.setdefault(id(context.command), context)
    named = {context.command_path.partition(" ")[2]: context for context in shortest.values()}
    found: dict[str, dict[str, click.Context]] = {}
    for name, context in sorted(named.items()):
        words = name.split()
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
