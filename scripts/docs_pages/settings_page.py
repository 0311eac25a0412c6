"""`docs/settings.md` and the arguments in the source that are settings, from the declaration of the settings."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill, indent
from typing import Final

from docs_pages.markdown import WRITTEN, table
from pandaprobe_otel.config.settings import OF_RECEIVERS, SETTINGS, Setting

_PACKAGE: Final = Path(__file__).parents[2] / "pandaprobe_otel"
_IGNORED: Final = "Accepted for users of the official SDK, without effect: "
_OTHER_ARGUMENTS: Final = (
    ("tracer_provider", "TracerProvider", "Provider to join, if it is not the global one."),
    ("batch_size", "int", f"{_IGNORED}a complete trace is sent at once."),
    ("flush_interval", "float", "Accepted for users of the official SDK, without effect."),
    ("max_queue_size", "int", f"{_IGNORED}memory is bounded in bytes."),
)

_INTRODUCTION = """\
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

_ALSO = """\
## Accepted without effect

`batch_size`, `flush_interval` and `max_queue_size` are arguments of the official SDK's `init()`. `init()` accepts
them, so that its users need not change the call. They have no effect: a trace is sent when it is complete, and memory
is bounded in bytes.

One argument is not a setting: `tracer_provider`, the provider to join if it is not the global one.

## Variables that `init()` sets

By default, official GenAI instrumentations write no messages, so there would be nothing to read or evaluate. `init()`
therefore sets these variables before it instruments, unless you have set them, or `capture` is `"metadata"` or `"off"`:

"""


def page() -> str:
    """Return the whole page as Markdown."""
    from pandaprobe_otel.bootstrap import CONTENT_SWITCHES

    rows = [(f"`{each.name}`", f"`{each.env}`" if each.env else "", _default(each), each.doc) for each in SETTINGS]
    settings = table(("`init(...)`", "variable", "default", "meaning"), rows)
    switches = table(("variable", "value"), [(f"`{name}`", f"`{value}`") for name, value in CONTENT_SWITCHES.items()])
    return f"{WRITTEN}\n\n# Settings\n\n{_INTRODUCTION}\n\n{settings}\n\n{_ALSO}{switches}\n"


def _default(setting: Setting) -> str:
    return "" if setting.default in (None, ()) else f"`{setting.default}`"


def source_of_init() -> str:
    """Return `bootstrap.py` with an argument of `init()` for each setting, and a line about it in the docstring."""
    arguments = [(each.name, each.argument, f"{each.doc}{_default_sentence(each)}") for each in SETTINGS]
    arguments += _OTHER_ARGUMENTS
    signature = [f"{name}: {_optional(type_)} = None," for name, type_, _ in arguments]
    meanings = [
        fill(f"{name}: {doc}", 112, subsequent_indent="    ", break_on_hyphens=False) for name, _, doc in arguments
    ]
    text = (_PACKAGE / "bootstrap.py").read_text(encoding="utf-8")
    text = _between(text, "def init(\n    *,\n", ") -> PandaProbe", _indented(signature, 4))
    return _between(text, "    Args:\n", "\n    Returns:\n        The handle", _indented(meanings, 8))


def source_of_span_receivers() -> str:
    """Return `span_receivers.py` with a key of `ExportSettings` for each setting that a receiver takes."""
    text = (_PACKAGE / "sdk/span_receivers.py").read_text(encoding="utf-8")
    keys = [f"{each.name}: {_optional(each.argument)}" for each in SETTINGS if each.name in OF_RECEIVERS]
    return _between(text, 'its declaration."""\n\n', "\n\nclass SpanReceiver", _indented(keys, 4))


def _default_sentence(setting: Setting) -> str:
    return f" Default: {_default(setting)}." if _default(setting) and setting.default is not False else ""


def _optional(type_: str) -> str:
    type_ = type_.replace("'", '"')  # as it stands in an annotation
    return type_ if type_ == "Any" or type_.endswith("None") else f"{type_} | None"


def _indented(lines: list[str], spaces: int) -> str:
    return indent("\n".join(lines), " " * spaces) + "\n"


def _between(text: str, start: str, end: str, middle: str) -> str:
    """Return the text with this middle after the first `start` and before the next `end`."""
    before, found, rest = text.partition(start)
    return f"{before}{found}{middle}{rest[rest.index(end) :]}"
