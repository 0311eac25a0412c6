"""`docs/settings.md`: every setting, from the table that resolves them."""

from __future__ import annotations

import inspect

import pandaprobe_otel
from docs_pages.markdown import WRITTEN, table
from pandaprobe_otel.config.settings import SETTINGS, Setting

_INTRODUCTION = """\
An argument of `init()` overrides its variable, the variable overrides OpenTelemetry's own (`OTEL_SERVICE_NAME`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`), these override the file `~/.pandaprobe/config.yaml` (which the
`pandaprobe` command line shares), and the file overrides the default. An empty variable counts as unset. An invalid
value is named in one warning with its source, and the default is used instead. If the default could send data against
your intention, nothing is sent. With `strict=True`, `init()` raises `ConfigError`.

`pandaprobe-otel doctor` shows each setting with its value and source, and so does
`pandaprobe_otel.status().settings` in the program."""

_ALSO = """\
## Accepted, and without effect

`batch_size`, `flush_interval` and `max_queue_size` are arguments of the official SDK's `init()`. They are accepted,
so that its users need not change the call. A trace is sent as soon as it is complete, and memory is bounded in bytes.

Two arguments are not settings: `tracer_provider`, the provider to join if it is not the global one, and
`meter_provider`, which [records GenAI metrics](genai-metrics.md).

## Variables that `init()` sets

Official GenAI instrumentations record no messages by default. Since traces need content for evaluation, `init()` sets
these variables before it instruments. It never overrides a value of yours, and sets none with `capture="metadata"` or
`"off"`:

"""


def page() -> str:
    """Return the whole page."""
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
