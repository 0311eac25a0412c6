"""Environment variables that may have an unexpected effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pandaprobe_otel.config.resolve import READ_ELSEWHERE, Config
from pandaprobe_otel.config.settings import SETTINGS
from pandaprobe_otel.mapping.options import SWITCHES

# The official SDK or PandaProbe's own command line reads these variables; this library does not.
_OF_OTHERS: Final = {
    "PANDAPROBE_BATCH_SIZE": "each trace is sent on its own as soon as it is complete",
    "PANDAPROBE_FLUSH_INTERVAL": "a trace is sent as soon as it is complete",
    "PANDAPROBE_MAX_QUEUE_SIZE": "PANDAPROBE_MAX_QUEUE_BYTES bounds the queue in bytes",
}
_OF_PYTEST: Final = "PANDAPROBE_PYTEST"
# Switches of other vendors' instrumentations. Evaluations need the content that they remove.
_GENERAL: Final = frozenset(switch.name for switch in SWITCHES if switch.is_general)
_OF_ALL: Final = "Unless capture is set, it keeps inputs and outputs out of all traces too. "
_CONTENT_SWITCHES: Final = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": frozenset({"false", "no_content"}),
    "TRACELOOP_TRACE_CONTENT": frozenset({"false"}),
    "OPENINFERENCE_HIDE_INPUTS": frozenset({"true"}),
    "OPENINFERENCE_HIDE_OUTPUTS": frozenset({"true"}),
}

_LENGTH_LIMITS: Final = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")


def environment_notes(environ: Mapping[str, str]) -> list[str]:
    """Return one sentence for each variable that is not read, or that removes or truncates content."""
    return [*_unknown(environ), *_without_content(environ), *_cut_off(environ)]


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = {setting.env for setting in SETTINGS if setting.env} | READ_ELSEWHERE
    misspelt = {problem.setting for problem in Config.resolve(environ=environ).problems}
    notes: list[str] = []
    for name in sorted(environ):
        if name in _OF_OTHERS:
            notes.append(f"{name} is not read by this library: {_OF_OTHERS[name]}.")
        elif name.startswith("PANDAPROBE_") and name not in known | misspelt and not name.startswith(_OF_PYTEST):
            notes.append(f"{name} is not a setting.")
    return notes


def _without_content(environ: Mapping[str, str]) -> list[str]:
    return [
        f"{name}={environ[name]} keeps messages out of the spans of libraries that obey it. "
        f"{_OF_ALL if name in _GENERAL else ''}Evaluations then have no content to judge."
        for name, off in _CONTENT_SWITCHES.items()
        if environ.get(name, "").strip().lower() in off
    ]


def _cut_off(environ: Mapping[str, str]) -> list[str]:
    return [
        f"{name}={environ[name]} makes OpenTelemetry truncate inputs and outputs to this many characters."
        for name in _LENGTH_LIMITS
        if environ.get(name, "").strip()
    ]
