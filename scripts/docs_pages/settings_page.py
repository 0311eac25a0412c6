"""`docs/settings.md`: every setting, from the table that resolves them."""

from __future__ import annotations

import inspect

import pandaprobe_otel
from docs_pages.markdown import WRITTEN, table
from pandaprobe_otel.config.settings import SETTINGS, Setting

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

    arguments = inspect.signature(pandaprobe_otel.init).parameters
    rows = [
        (
            f"`{setting.name}`" if setting.name in arguments else "",
            f"`{setting.env}`" if setting.env else "",
            _default(setting),
            setting.doc,
        )
        for setting in SETTINGS
    ]
    settings = table(("`init(...)`", "variable", "default", "meaning"), rows)
    switches = table(("variable", "value"), [(f"`{name}`", f"`{value}`") for name, value in CONTENT_SWITCHES.items()])
    return f"{WRITTEN}\n\n# Settings\n\n{_INTRODUCTION}\n\n{settings}\n\n{_ALSO}{switches}\n"


def _default(setting: Setting) -> str:
    return "" if setting.default in (None, ()) else f"`{setting.default}`"
