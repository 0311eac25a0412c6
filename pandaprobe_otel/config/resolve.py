"""Settings: one frozen object, resolved once, with the source of each value.

Order of sources: argument > `PANDAPROBE_*` variable > OpenTelemetry's own variable > `~/.pandaprobe/config.yaml`
> default. `Settings` declares them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from pandaprobe_otel.config.parsers import BadValueError, is_loopback, unusable
from pandaprobe_otel.config.settings import SETTINGS, Setting, Settings

_PLACEHOLDER_KEY = re.compile(
    r"(?:<.*>|\$\{.*\}|x{3,}|\.{3,}|(?:your|my|insert|replace|change)[ _-]?.*|todo|changeme|none|null|api[ _-]?key|"
    r"sk_pp_(?:x{3,}|\.{2,}|your.*))",
    re.IGNORECASE,
)
_PREFIX: Final = "PANDAPROBE_"
_VARIABLES: Final = frozenset(setting.env for setting in SETTINGS if setting.env)
READ_ELSEWHERE: Final = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        *("BATCH_SIZE", "FLUSH_INTERVAL", "MAX_QUEUE_SIZE", "FORMAT", "AUTH_URL", "TIMEOUT", "REFLECT_WORKSPACE"),
        *("JUDGE_KEY", "MCP_TOKEN", "GATEWAY_TOKEN"),
    )
)
"""Variables of the official SDK, and of commands of ours."""
_ALIKE: Final = 0.73
"""Likeness from which an unknown variable is taken for a misspelt one: 0.74 for PROJECT and PROJECT_NAME, but 0.72 for
PROJECT_ID, which may be a variable of the app."""
_MOST_BITS: Final = 256
"""Largest number that a message shows. Python refuses to make the text of a much larger one."""
_SECRETS_OF_URLS: Final = re.compile(r"(?<=://).*(?=@)|(?<=[?#]).+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Setting that cannot be used. The message states the fault, the source and the remedy."""

    setting: str
    message: str
    fatal: bool = False
    """True if nothing can be sent because of the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Every setting, resolved. `sources` holds the source of each value by name."""

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
        """Resolve every setting. Never raises: an unusable value is replaced by the default and listed in `problems`.

        `arguments` maps setting names to values, where None means "not given". `environ` defaults to the process
        environment, and `file` to `~/.pandaprobe/config.yaml`.
        """
        env = os.environ if environ is None else environ
        problems: list[Problem] = []
        from_file = _read_file(_default_file() if file is None else file, problems)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for setting in SETTINGS:
            value, source = _resolve_one(setting, arguments or {}, env, from_file, problems)
            values[setting.name], sources[setting.name] = value, source
        problems += _misspelt(env)
        for name, fault in unusable(env):
            problems.append(Problem(setting=name, message=f"{name} = {_shown(env[name])} {fault}; it is ignored."))
        _check_key(values, sources, problems)
        _keep_apart(values, sources, problems)
        return cls(**values, sources=sources, problems=tuple(problems))

    @property
    def usable(self) -> bool:
        """True if traces can be sent with these settings."""
        return self.enabled and not any(problem.fatal for problem in self.problems)

    @property
    def fixed_key(self) -> str | None:
        """The API key, if it is a string; empty for a local endpoint without a key, None if a function supplies it."""
        return self.api_key if isinstance(self.api_key, str) else None

    def ask_key(self) -> str | None:
        """Return the current API key. Exceptions of a function that supplies it pass through."""
        return self.api_key() if callable(self.api_key) else self.api_key

    @property
    def key_identity(self) -> str:
        """Name for the key's spool and budget: the key, or the name of its function, which survives a key rotation."""
        if self.api_key is None or isinstance(self.api_key, str):
            return self.api_key or ""
        function: Any = getattr(self.api_key, "func", self.api_key)  # `func` of a functools.partial
        if not hasattr(function, "__qualname__"):  # a callable object
            function = cast("Any", type(function))
        return f"function {function.__module__}.{function.__qualname__}"

    @property
    def captures_content(self) -> bool:
        """True if inputs and outputs are sent for at least one kind of span."""
        if isinstance(self.capture, str):
            return self.capture == "all"
        return "all" in self.capture.values() or "*" not in self.capture

    @property
    def destination(self) -> str:
        """Destination of traces: the endpoint, or a file."""
        return self.local or self.endpoint

    @property
    def shows_running_spans(self) -> bool:
        """True if a local server at the endpoint may receive running spans.

        With a function that selects spans, there is no live view: it is called once per span, after its end.
        """
        may = self.is_local if self.live is None else self.live
        return may and self.local is None and not callable(self.spans)

    @property
    def keeps_media(self) -> bool:
        """True if small pictures, sound and files are sent with their data."""
        return self.media == "inline" or (self.media is None and self.local is None and self.is_local)

    @property
    def is_local(self) -> bool:
        """True if the endpoint is on this machine."""
        return is_loopback(self.endpoint)


def _resolve_one(
    setting: Setting,
    arguments: Mapping[str, Any],
    env: Mapping[str, str],
    from_file: Mapping[str, Any],
    problems: list[Problem],
) -> tuple[Any, str]:
    raw, source = _given(setting, arguments, env, from_file)
    if source == "default":
        return raw, source
    try:
        return setting.parse(raw), source
    except Exception as error:  # noqa: BLE001 - protects the app: methods of any object may fail in any way
        fault = str(error) if isinstance(error, BadValueError) else f"cannot be read ({type(error).__name__})"
        shown = "(not shown)" if setting.is_secret else _shown(raw)
        rest = "no traces are sent" if setting.is_fatal else f"the default is used ({setting.default!r})"
        if setting.fallback is not None:
            rest = f"{setting.fallback!r} is used, so that nothing is sent against your intention"
        problems.append(
            Problem(setting=setting.name, message=f"{source} = {shown} {fault}; {rest}.", fatal=setting.is_fatal)
        )
        return (setting.default, "default") if setting.fallback is None else (setting.fallback, source)


def _shown(raw: Any) -> str:
    """Return the text of a plain value, and the type of another: its `repr` may fail."""
    if type(raw) not in (str, bytes, bool, int, float) or (type(raw) is int and raw.bit_length() > _MOST_BITS):
        return f"{'an' if type(raw) is int else 'a'} {type(raw).__name__}"
    return repr(without_secrets(raw))[:80]


def without_secrets(raw: Any) -> Any:
    """Return a refused value in a form that may be shown: a URL can contain a password, or a token in its query."""
    return _SECRETS_OF_URLS.sub("***", raw) if isinstance(raw, str) and "://" in raw else raw


def _given(
    setting: Setting, arguments: Mapping[str, Any], env: Mapping[str, str], from_file: Mapping[str, Any]
) -> tuple[Any, str]:
    """Return the value of the first source that has one, and the source."""
    if arguments.get(setting.name) is not None:
        return arguments[setting.name], f"argument {setting.name}"
    # An empty variable counts as unset, as OpenTelemetry's specification says.
    if setting.env and env.get(setting.env, "").strip():
        return env[setting.env].strip(), setting.env
    if setting.otel and (otel := setting.otel(env)) is not None:
        return otel
    for key in setting.file_keys:
        if from_file.get(key) not in (None, ""):
            return from_file[key], f"{_default_file()} ({key})"
    return setting.default, "default"


def _misspelt(env: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each variable that is probably meant to be a setting's."""
    names = [name for name in env if name.startswith(_PREFIX)]
    if _VARIABLES.issuperset(names):
        return []
    from difflib import get_close_matches  # loaded only for a variable that is no setting's

    endings = [name.removeprefix(_PREFIX) for name in _VARIABLES]
    problems: list[Problem] = []
    for name in sorted({*names} - _VARIABLES - READ_ELSEWHERE):
        likely = get_close_matches(name.removeprefix(_PREFIX), endings, n=1, cutoff=_ALIKE)
        if likely:
            message = f"{name} is not a setting and has no effect. Did you mean {_PREFIX}{likely[0]}?"
            problems.append(Problem(setting=name, message=message))
    return problems


def _check_key(values: dict[str, Any], sources: dict[str, str], problems: list[Problem]) -> None:
    key = values["api_key"]
    if not values["enabled"] or values["local"] is not None:
        return
    if key is None:
        if is_loopback(str(values["endpoint"])):
            # A PandaProbe on this machine may accept requests without a key. If it requires a key, its answer states
            # this.
            values["api_key"], sources["api_key"] = "", "none, because an open local server needs none"
            return
        message = (
            "no API key: set PANDAPROBE_API_KEY (or pass api_key=...), or set PANDAPROBE_ENDPOINT to a local "
            "PandaProbe (`pandaprobe-otel local`); no traces are sent."
        )
    elif isinstance(key, str) and _PLACEHOLDER_KEY.fullmatch(key):
        message = f"{sources['api_key']} holds a placeholder, not an API key: put your key there; no traces are sent."
    else:
        return
    problems.append(Problem(setting="api_key", message=message, fatal=True))


def _keep_apart(values: dict[str, Any], sources: dict[str, str], problems: list[Problem]) -> None:
    """Disable the spool if traces go to a file: the spool's traces may be meant for a server."""
    if values["local"] is None or values["spool"] is None:
        return
    message = f"{sources['local']} writes traces to a file, without a spool: {sources['spool']} is ignored."
    problems.append(Problem(setting="spool", message=message))
    values["spool"] = None


# -- the configuration file -----------------------------------------------------------------------------------------


def _default_file() -> Path:
    return Path(os.path.expanduser("~")) / ".pandaprobe" / "config.yaml"


def _read_file(path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # ValueError: no text, or a home directory with a NUL
        problems.append(Problem(setting="config file", message=f"{path} cannot be read ({error}); it is ignored."))
        return {}
    import yaml  # loaded only if the file exists

    try:
        content: Any = yaml.safe_load(text)
    # Its readers of dates and numbers raise what Python raises.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        problems.append(Problem(setting="config file", message=f"{path} is not YAML ({error}); it is ignored."))
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
