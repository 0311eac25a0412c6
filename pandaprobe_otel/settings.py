"""The table of all settings: for each its variable, its default, and how its value is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

CLOUD_ENDPOINT: Final = "https://api.pandaprobe.com"

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
# The header's rule on the server (measured); a name outside it is refused with 422 for every trace.
_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'-]{0,253}[A-Za-z0-9])?")


class BadValueError(ValueError):
    """What is wrong with a value, as the end of the sentence '<source> = <value> ...'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: a setting, its environment variables, its default and how it is read."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    doc: str
    fallback: Any = None
    """What is used instead of the default when a value was given that cannot be used."""
    env: str | None = None
    otel: Callable[[Mapping[str, str]], tuple[Any, str] | None] | None = None
    file_keys: tuple[str, ...] = ()
    secret: bool = False


# -- reading single values ------------------------------------------------------------------------------------------


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise BadValueError("is not a text")
    return raw.strip()


def _key(raw: Any) -> str:
    key = _text(raw)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadValueError("is not an API key (spaces or characters that a header cannot carry)")
    return key


def _project(raw: Any) -> str:
    name = _text(raw)
    if not _PROJECT_NAME.fullmatch(name):
        raise BadValueError(
            "is not a project name (1-255 letters, digits, spaces, _ . ' -, a letter or digit at both ends)"
        )
    return name


def _endpoint(raw: Any) -> str:
    url = _text(raw).rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadValueError(f"is not an http(s) URL such as {CLOUD_ENDPOINT}")
    if parts.query or parts.fragment or parts.username:
        raise BadValueError("must be a plain base URL, without credentials, query or fragment")
    return url


def _file(raw: Any) -> str:
    path = os.path.abspath(os.path.expanduser(str(raw)))
    if os.path.isdir(path):
        raise BadValueError("is a directory, not a file such as traces.jsonl")
    if not os.path.isdir(os.path.dirname(path)):
        raise BadValueError("is in a directory that does not exist")
    return path


def _redis_url(raw: Any) -> str:
    url = _text(raw)
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.netloc or parts.path):
        raise BadValueError("is not the address of a Redis (redis://host:6379/0, rediss://... or unix:///path)")
    try:
        known = find_spec("redis") is not None
    except (ImportError, ValueError):
        known = False
    if not known:
        raise BadValueError("needs the package redis: pip install 'pandaprobe-otel[redis]'")
    return url


def _priced(raw: Any) -> bool:
    wanted = _bool(raw)
    if wanted and find_spec("genai_prices") is None:
        raise BadValueError("needs the package genai-prices: pip install 'pandaprobe-otel[cost]'")
    return wanted


def _bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValueError("is neither true nor false")


def _rate(raw: Any) -> float:
    try:
        rate = float(raw)
    except (TypeError, ValueError):
        raise BadValueError("is not a number") from None
    if not 0.0 <= rate <= 1.0:
        raise BadValueError("is not between 0 and 1")
    return rate


def _seconds(raw: Any) -> float:
    try:
        seconds = float(raw)
    except (TypeError, ValueError):
        raise BadValueError("is not a number of seconds") from None
    if not 0.0 <= seconds <= 3600.0:
        raise BadValueError("is not between 0 and 3600 seconds")
    return seconds


def _count(raw: Any) -> int:
    try:
        count = int(raw)
    except (TypeError, ValueError):
        raise BadValueError("is not a whole number") from None
    if count < 1:
        raise BadValueError("is less than 1")
    return count


def _bytes(raw: Any) -> int:
    try:
        count = int(raw)
    except (TypeError, ValueError):
        raise BadValueError("is not a number of bytes") from None
    if count < 1 << 20:
        raise BadValueError("is less than 1048576 bytes")
    return count


def _one_of(*words: str) -> Callable[[Any], Any]:
    def parse(raw: Any) -> Any:
        if isinstance(raw, str) and raw.strip().lower() in words:
            return raw.strip().lower()
        raise BadValueError("is none of " + ", ".join(words))

    return parse


_KINDS = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})
_capture_mode = _one_of("all", "metadata", "off")


def _capture(raw: Any) -> Any:
    """One mode for every span, or modes by kind, those of all other kinds under `*`."""
    if isinstance(raw, str):
        parts = (part.rpartition("=") for part in raw.split(","))
        pairs = [(kind if equals else "*", mode) for kind, equals, mode in parts]
    else:
        try:
            pairs = list(raw.items())
        except AttributeError:
            raise BadValueError("is none of all, metadata, off, nor these by kind") from None
    modes = {str(kind).strip().upper(): _capture_mode(mode) for kind, mode in pairs}
    unknown = sorted(modes.keys() - _KINDS - {"*"})
    if unknown:
        raise BadValueError(f"names {unknown[0]!r}, which is none of the kinds {', '.join(sorted(_KINDS))} and *")
    modes.setdefault("*", "all")
    return modes["*"] if len(set(modes.values())) == 1 else modes


def _spans(raw: Any) -> Any:
    return raw if callable(raw) else _one_of("agent", "all")(raw)


def _instrument(raw: Any) -> Any:
    if raw is False or raw is True:
        return "auto" if raw else False
    if isinstance(raw, str):
        word = raw.strip().lower()
        if word == "auto" or word in _TRUE:
            return "auto"
        return False if word in _FALSE else _names(raw)
    return _names(raw)


def _names(raw: Any) -> tuple[str, ...]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    try:
        names = tuple(part.strip() for part in parts)
    except (TypeError, AttributeError):
        raise BadValueError("is not a list of names") from None
    return tuple(name for name in names if name)


def _anything(raw: Any) -> Any:
    return raw


# -- OpenTelemetry's own variables ----------------------------------------------------------------------------------


def _otel_disabled(env: Mapping[str, str]) -> tuple[bool, str] | None:
    # Only "true" counts, by OpenTelemetry's specification of boolean variables.
    return (False, "OTEL_SDK_DISABLED") if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else None


def _otel_resource(*keys: str) -> Callable[[Mapping[str, str]], tuple[str, str] | None]:
    def look(env: Mapping[str, str]) -> tuple[str, str] | None:
        pairs = {
            name.strip(): value.strip()
            for name, _, value in (part.partition("=") for part in env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
        }
        for key in keys:
            if pairs.get(key):
                return pairs[key], f"OTEL_RESOURCE_ATTRIBUTES ({key})"
        return None

    return look


def _otel_service_name(env: Mapping[str, str]) -> tuple[str, str] | None:
    if env.get("OTEL_SERVICE_NAME", "").strip():
        return env["OTEL_SERVICE_NAME"].strip(), "OTEL_SERVICE_NAME"
    return _otel_resource("service.name")(env)


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        name="api_key",
        env="PANDAPROBE_API_KEY",
        file_keys=("api_key",),
        parse=_key,
        default=None,
        secret=True,
        doc="The API key (header X-API-Key).",
    ),
    Setting(
        name="project_name",
        env="PANDAPROBE_PROJECT_NAME",
        file_keys=("project_name", "project"),
        parse=_project,
        default="default",
        doc="The project that traces go to; PandaProbe creates it on the first request that names it.",
    ),
    Setting(
        name="endpoint",
        env="PANDAPROBE_ENDPOINT",
        file_keys=("endpoint",),
        parse=_endpoint,
        default=CLOUD_ENDPOINT,
        doc="Base URL of PandaProbe: the hosted service, your own, or a local one.",
    ),
    Setting(
        name="environment",
        env="PANDAPROBE_ENVIRONMENT",
        otel=_otel_resource("deployment.environment.name", "deployment.environment"),
        parse=_text,
        default=None,
        doc="Deployment environment written into each trace, such as `production`.",
    ),
    Setting(
        name="release",
        env="PANDAPROBE_RELEASE",
        otel=_otel_resource("service.version"),
        parse=_text,
        default=None,
        doc="Version of the app written into each trace.",
    ),
    Setting(
        name="service_name",
        otel=_otel_service_name,
        parse=_text,
        default=None,
        doc="`service.name` of the provider that `init` creates.",
    ),
    Setting(
        name="enabled",
        env="PANDAPROBE_ENABLED",
        otel=_otel_disabled,
        parse=_bool,
        default=True,
        doc="False: nothing is traced and nothing is sent.",
    ),
    Setting(
        name="instrument",
        env="PANDAPROBE_INSTRUMENT",
        parse=_instrument,
        default="auto",
        doc="`auto`: every supported library that is installed; False; or a list of names.",
    ),
    Setting(
        name="exclude",
        env="PANDAPROBE_EXCLUDE",
        parse=_names,
        default=(),
        doc="Names of libraries that `instrument=auto` leaves alone.",
    ),
    Setting(
        name="spans",
        env="PANDAPROBE_SPANS",
        parse=_spans,
        default="agent",
        doc="`agent`: traces with a GenAI span, without HTTP and database spans; `all`; or a function of the span.",
    ),
    Setting(
        name="capture",
        env="PANDAPROBE_CAPTURE",
        parse=_capture,
        default="all",
        fallback="off",
        doc="`all`: inputs and outputs too; `metadata`: names, times, models, tokens; `off`: no metadata either. "
        'By kind: `{"*": "all", "TOOL": "metadata"}`, in the variable `all,TOOL=metadata`.',
    ),
    Setting(
        name="mask",
        parse=_anything,
        default=None,
        doc="Regular expressions or functions that remove what must not leave the process.",
    ),
    Setting(
        name="compute_cost",
        env="PANDAPROBE_COMPUTE_COST",
        parse=_priced,
        default=False,
        doc="True: costs that no span states are computed from a price list (extra `cost`), and marked as computed.",
    ),
    Setting(
        name="sample_rate",
        env="PANDAPROBE_SAMPLE_RATE",
        parse=_rate,
        default=1.0,
        doc="Share of traces that is kept, 0 to 1, decided by the trace id.",
    ),
    Setting(
        name="local",
        env="PANDAPROBE_LOCAL",
        parse=_file,
        default=None,
        doc="A file: traces are written there, one JSON line each, and nothing is sent; `replay` sends them later.",
    ),
    Setting(
        name="spool",
        env="PANDAPROBE_SPOOL_DIR",
        parse=lambda raw: str(raw),
        default=None,
        doc="Directory in which waiting traces survive the process; None: memory only.",
    ),
    Setting(
        name="redis_url",
        env="PANDAPROBE_REDIS_URL",
        parse=_redis_url,
        default=None,
        secret=True,
        doc="Redis that shares one key's budget between machines (redis://, rediss:// or unix://).",
    ),
    Setting(
        name="console",
        env="PANDAPROBE_CONSOLE",
        parse=_bool,
        default=False,
        doc="True: each finished trace is also printed as a tree to standard error.",
    ),
    Setting(
        name="debug",
        env="PANDAPROBE_DEBUG",
        parse=_bool,
        default=False,
        doc="True: the log level of `pandaprobe_otel` is DEBUG.",
    ),
    Setting(
        name="strict",
        env="PANDAPROBE_STRICT",
        parse=_bool,
        default=False,
        doc="True: `init` raises ConfigError for a bad setting instead of warning.",
    ),
    Setting(
        name="max_traces_per_day",
        env="PANDAPROBE_MAX_TRACES_PER_DAY",
        parse=_count,
        default=None,
        doc="Most traces that this process posts in 24 hours (each is billed); None: as many as the rate allows.",
    ),
    Setting(
        name="verify",
        env="PANDAPROBE_VERIFY",
        parse=_rate,
        default=0.0,
        doc="Share of delivered traces that is looked up afterwards; one that the server lost is sent once more.",
    ),
    Setting(
        name="handle_sigterm",
        env="PANDAPROBE_HANDLE_SIGTERM",
        parse=_bool,
        default=False,
        doc="True: SIGTERM ends the process as `sys.exit(143)` does, so that traces are delivered (unless handled).",
    ),
    Setting(
        name="max_queue_bytes",
        env="PANDAPROBE_MAX_QUEUE_BYTES",
        parse=_bytes,
        default=64 << 20,
        doc="Bound of the memory that open and waiting traces may take, in bytes.",
    ),
    Setting(
        name="max_spool_bytes",
        env="PANDAPROBE_MAX_SPOOL_BYTES",
        parse=_bytes,
        default=512 << 20,
        doc="Bound of the disk space that waiting traces may take in the spool, in bytes; the oldest go first.",
    ),
    Setting(
        name="shutdown_timeout_s",
        env="PANDAPROBE_SHUTDOWN_TIMEOUT",
        parse=_seconds,
        default=5.0,
        doc="Seconds that the end of the process may wait for traces to be delivered.",
    ),
)
