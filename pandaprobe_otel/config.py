"""Settings: one frozen object, resolved once, that remembers where each value came from.

Order of sources: argument > `PANDAPROBE_*` variable > OpenTelemetry's own variable > `~/.pandaprobe/config.yaml`
> default. `SETTINGS` is the one table: the resolver, the documentation and the tests all read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Capture = Literal["all", "metadata", "off"]

CLOUD_ENDPOINT: Final = "https://api.pandaprobe.com"
LOCAL_API_KEY: Final = "sk_pp_local"
"""Sent to a loopback endpoint when no key is set: a local PandaProbe without `--auth` takes any key."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
# The header's rule on the server (measured); a name outside it is refused with 422 for every trace.
_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'-]{0,253}[A-Za-z0-9])?")
_PLACEHOLDER_KEY = re.compile(
    r"(?:<.*>|\$\{.*\}|x{3,}|\.{3,}|(?:your|my|insert|replace|change)[ _-]?.*|todo|changeme|none|null|api[ _-]?key|"
    r"sk_pp_(?:x+|\.+|your.*))",
    re.IGNORECASE,
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class _BadValueError(ValueError):
    """What is wrong with a value, as the end of the sentence '<source> = <value> ...'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: a setting, its environment variables, its default and how it is read."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    doc: str
    env: str | None = None
    otel: Callable[[Mapping[str, str]], tuple[Any, str] | None] | None = None
    file_keys: tuple[str, ...] = ()
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A setting that cannot be used: what is wrong, where it came from and what to do."""

    setting: str
    message: str
    fatal: bool = False
    """True when nothing can be sent because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of this library, resolved. `sources` says for each name where its value came from."""

    api_key: str | None
    project_name: str
    endpoint: str
    environment: str | None
    release: str | None
    service_name: str | None
    enabled: bool
    instrument: Literal["auto", False] | tuple[str, ...]
    exclude: tuple[str, ...]
    spans: Literal["agent", "all"] | Callable[..., bool]
    capture: Capture
    mask: Any
    sample_rate: float
    spool: str | None
    redis_url: str | None
    console: bool
    debug: bool
    strict: bool
    max_queue_bytes: int
    shutdown_timeout_s: float
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    problems: tuple[Problem, ...] = ()

    @classmethod
    def resolve(
        cls,
        arguments: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> Config:
        """Resolve every setting. Never raises: what cannot be used stands in `problems`, with the default in its place.

        `arguments` maps setting names to values, None meaning "not given"; `environ` defaults to the process's
        environment and `file` to `~/.pandaprobe/config.yaml`.
        """
        env = os.environ if environ is None else environ
        problems: list[Problem] = []
        from_file = _read_file(_default_file() if file is None else file, problems)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for setting in SETTINGS:
            value, source = _resolve_one(setting, arguments or {}, env, from_file, problems)
            values[setting.name], sources[setting.name] = value, source
        _check_key(values, sources, problems)
        return cls(**values, sources=sources, problems=tuple(problems))

    @property
    def usable(self) -> bool:
        """Whether traces can be sent with these settings."""
        return self.enabled and not any(problem.fatal for problem in self.problems)

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine."""
        return urlsplit(self.endpoint).hostname in _LOOPBACK


def _resolve_one(
    setting: Setting,
    arguments: Mapping[str, Any],
    env: Mapping[str, str],
    from_file: Mapping[str, Any],
    problems: list[Problem],
) -> tuple[Any, str]:
    for raw, source in _candidates(setting, arguments, env, from_file):
        try:
            return setting.parse(raw), source
        except _BadValueError as error:
            shown = "(not shown)" if setting.secret else repr(raw)[:80]
            fatal = setting.name == "endpoint"
            rest = "no traces are sent" if fatal else f"the default is used ({setting.default!r})"
            problems.append(
                Problem(setting=setting.name, message=f"{source} = {shown} {error}; {rest}.", fatal=fatal)
            )
            break
    return setting.default, "default"


def _candidates(
    setting: Setting, arguments: Mapping[str, Any], env: Mapping[str, str], from_file: Mapping[str, Any]
) -> Sequence[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    if arguments.get(setting.name) is not None:
        found.append((arguments[setting.name], f"argument {setting.name}"))
    # An empty variable counts as unset, as OpenTelemetry's specification says.
    if setting.env and env.get(setting.env, "").strip():
        found.append((env[setting.env].strip(), setting.env))
    if setting.otel and (otel := setting.otel(env)) is not None:
        found.append(otel)
    for key in setting.file_keys:
        if from_file.get(key) not in (None, ""):
            found.append((from_file[key], f"{_default_file()} ({key})"))
    return found


def _check_key(values: dict[str, Any], sources: dict[str, str], problems: list[Problem]) -> None:
    key = values["api_key"]
    if key is None:
        if urlsplit(values["endpoint"]).hostname in _LOOPBACK:
            values["api_key"], sources["api_key"] = LOCAL_API_KEY, "default for a local endpoint"
            return
        message = (
            "no API key: set PANDAPROBE_API_KEY (or pass api_key=...), or set PANDAPROBE_ENDPOINT to a local PandaProbe "
            "(`pandaprobe-otel local`); no traces are sent."
        )
    elif _PLACEHOLDER_KEY.fullmatch(key):
        message = f"{sources['api_key']} holds a placeholder, not an API key: put your key there; no traces are sent."
    else:
        return
    problems.append(Problem(setting="api_key", message=message, fatal=True))


# -- reading single values ------------------------------------------------------------------------------------------


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise _BadValueError("is not a text")
    return raw.strip()


def _key(raw: Any) -> str:
    key = _text(raw)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _BadValueError("is not an API key (spaces or characters that a header cannot carry)")
    return key


def _project(raw: Any) -> str:
    name = _text(raw)
    if not _PROJECT_NAME.fullmatch(name):
        raise _BadValueError(
            "is not a project name (1-255 letters, digits, spaces, _ . ' -, a letter or digit at both ends)"
        )
    return name


def _endpoint(raw: Any) -> str:
    url = _text(raw).rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _BadValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _BadValueError(f"is not an http(s) URL such as {CLOUD_ENDPOINT}")
    if parts.query or parts.fragment or parts.username:
        raise _BadValueError("must be a plain base URL, without credentials, query or fragment")
    return url


def _bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise _BadValueError("is neither true nor false")


def _rate(raw: Any) -> float:
    try:
        rate = float(raw)
    except (TypeError, ValueError):
        raise _BadValueError("is not a number") from None
    if not 0.0 <= rate <= 1.0:
        raise _BadValueError("is not between 0 and 1")
    return rate


def _seconds(raw: Any) -> float:
    try:
        seconds = float(raw)
    except (TypeError, ValueError):
        raise _BadValueError("is not a number of seconds") from None
    if not 0.0 <= seconds <= 3600.0:
        raise _BadValueError("is not between 0 and 3600 seconds")
    return seconds


def _bytes(raw: Any) -> int:
    try:
        count = int(raw)
    except (TypeError, ValueError):
        raise _BadValueError("is not a number of bytes") from None
    if count < 1 << 20:
        raise _BadValueError("is less than 1048576 bytes")
    return count


def _one_of(*words: str) -> Callable[[Any], Any]:
    def parse(raw: Any) -> Any:
        if isinstance(raw, str) and raw.strip().lower() in words:
            return raw.strip().lower()
        raise _BadValueError("is none of " + ", ".join(words))

    return parse


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
        raise _BadValueError("is not a list of names") from None
    return tuple(name for name in names if name)


def _anything(raw: Any) -> Any:
    return raw


# -- OpenTelemetry's own variables ----------------------------------------------------------------------------------


def _otel_disabled(env: Mapping[str, str]) -> tuple[bool, str] | None:
    # Only "true" counts, by OpenTelemetry's specification of boolean variables.
    return (False, "OTEL_SDK_DISABLED") if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else None


def _otel_resource(*keys: str) -> Callable[[Mapping[str, str]], tuple[str, str] | None]:
    def look(env: Mapping[str, str]) -> tuple[str, str] | None:
        pairs = dict(
            (name.strip(), value.strip())
            for name, _, value in (part.partition("=") for part in env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
        )
        for key in keys:
            if pairs.get(key):
                return pairs[key], f"OTEL_RESOURCE_ATTRIBUTES ({key})"
        return None

    return look


def _otel_service_name(env: Mapping[str, str]) -> tuple[str, str] | None:
    if env.get("OTEL_SERVICE_NAME", "").strip():
        return env["OTEL_SERVICE_NAME"].strip(), "OTEL_SERVICE_NAME"
    return _otel_resource("service.name")(env)


# -- the configuration file -----------------------------------------------------------------------------------------


def _default_file() -> Path:
    return Path(os.path.expanduser("~")) / ".pandaprobe" / "config.yaml"


def _read_file(path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(setting="config file", message=f"{path} cannot be read ({error}); it is ignored."))
        return {}
    import yaml  # loaded only by who has the file

    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problems.append(Problem(setting="config file", message=f"{path} is not YAML ({error}); it is ignored."))
        return {}
    return content if isinstance(content, dict) else {}


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
        parse=_one_of("all", "metadata", "off"),
        default="all",
        doc="`all`: inputs and outputs are sent; `metadata`: names, times, models, tokens only; `off`: no metadata either.",
    ),
    Setting(
        name="mask",
        parse=_anything,
        default=None,
        doc="Regular expressions or functions that remove what must not leave the process.",
    ),
    Setting(
        name="sample_rate",
        env="PANDAPROBE_SAMPLE_RATE",
        parse=_rate,
        default=1.0,
        doc="Share of traces that is kept, 0 to 1, decided by the trace id.",
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
        parse=_text,
        default=None,
        secret=True,
        doc="Redis that shares one key's budget between machines.",
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
        name="max_queue_bytes",
        env="PANDAPROBE_MAX_QUEUE_BYTES",
        parse=_bytes,
        default=64 << 20,
        doc="Bound of the memory that open and waiting traces may take, in bytes.",
    ),
    Setting(
        name="shutdown_timeout_s",
        env="PANDAPROBE_SHUTDOWN_TIMEOUT",
        parse=_seconds,
        default=5.0,
        doc="Seconds that the end of the process may wait for traces to be delivered.",
    ),
)
