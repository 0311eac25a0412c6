"""Readers of values: parsers of settings from any source, and the variables that OpenTelemetry itself defines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final, cast
from urllib.parse import urlsplit

CLOUD_ENDPOINT: Final = "https://api.pandaprobe.com"

_MOST: Final = 1 << 53
"""Bound on whole numbers, which are exact as floats up to here."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
# The server's rule for the header (measured). With any other name, it refuses every trace with 422.
_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'-]{0,253}[A-Za-z0-9])?")
PROJECT_RULE = "is not a project name (1-255 letters, digits, spaces, _ . ' -, a letter or digit at both ends)"


class BadValueError(ValueError):
    """Fault of a value; its text completes the sentence '<source> = <value> ...'."""


def read_text(raw: Any) -> str:
    """Return a non-empty string, stripped."""
    if not isinstance(raw, str) or not raw.strip():
        raise BadValueError("is not a text")
    return raw.strip()


def read_key(raw: Any) -> str:
    """Return an API key that a header can carry."""
    key = read_text(raw)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadValueError("is not an API key: it has spaces or characters that a header cannot carry")
    return key


def read_key_or_function(raw: Any) -> Any:
    """Return an API key, or the function without arguments that supplies it on demand."""
    return raw if callable(raw) else read_key(raw)


def is_project_name(name: str) -> bool:
    """Return whether the server accepts a project of this name, which is written into a header."""
    return _PROJECT_NAME.fullmatch(name) is not None


def read_project(raw: Any) -> str:
    """Return a project name that the server accepts."""
    name = read_text(raw)
    if not is_project_name(name):
        raise BadValueError(PROJECT_RULE)
    return name


def read_endpoint(raw: Any) -> str:
    """Return a base URL without a trailing slash."""
    url = read_text(raw).rstrip("/")
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


def is_loopback(url: str) -> bool:
    """Return whether a URL is on this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def read_trace_url(raw: Any) -> str:
    """Return the address of a page that has a placeholder for a trace id."""
    url = read_text(raw)
    if not url.startswith(("http://", "https://")) or "{trace_id}" not in url:
        raise BadValueError("is not an http(s) address with {trace_id} in it")
    return url


def read_file(raw: Any) -> str:
    """Return the absolute path of a file that exists or can be created."""
    path = _absolute(raw)
    if os.path.isdir(path):
        raise BadValueError("is a directory, not a file such as traces.jsonl")
    if not os.path.isdir(os.path.dirname(path)):
        raise BadValueError("is in a directory that does not exist")
    return path


def read_directory(raw: Any) -> str:
    """Return the absolute path of a directory that exists or can be created."""
    path = _absolute(raw)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise BadValueError("is a file, not a directory")
    return path


def _absolute(raw: Any) -> str:
    """Return the path from the current directory of now, because the app may change it later."""
    try:
        given: object = cast("object", os.fspath(raw))
    except TypeError:
        raise BadValueError("is not a path") from None
    if not isinstance(given, str) or not given.strip():
        raise BadValueError("is not a path")
    path = os.path.expanduser(given)
    if path.startswith("~"):
        raise BadValueError("is below the home of a user who does not exist")
    try:
        path = os.path.abspath(path)
    except FileNotFoundError:
        raise BadValueError("is relative, but the current directory is gone") from None
    try:
        os.lstat(path)
    except (FileNotFoundError, PermissionError):
        return path  # it is created later, or the first write fails and says so
    except (OSError, ValueError) as error:
        raise BadValueError(f"cannot be used as a path ({getattr(error, 'strerror', None) or error})") from None
    return path


def read_redis_url(raw: Any) -> str:
    """Return the address of a Redis, if its client library is installed."""
    url = read_text(raw)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadValueError("is not a URL") from None
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.netloc or parts.path):
        raise BadValueError("is not the address of a Redis (redis://host:6379/0, rediss://... or unix:///path)")
    _need("redis", extra="redis")
    return url


def read_priced(raw: Any) -> bool:
    """Return a boolean; true needs the package with the prices."""
    wanted = read_bool(raw)
    if wanted:
        _need("genai_prices", extra="cost")
    return wanted


def _need(module: str, *, extra: str) -> None:
    try:
        known = find_spec(module) is not None
    except (ImportError, ValueError):
        known = False
    if not known:
        package = module.replace("_", "-")
        raise BadValueError(f"needs the package {package}: pip install 'pandaprobe-otel[{extra}]'")


def read_bool(raw: Any) -> bool:
    """Return a boolean, given as one or as a common word for it."""
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValueError("is neither true nor false")


def number(convert: type[float], name: str, least: float, most: float, outside: str) -> Callable[[Any], Any]:
    """Return a parser of numbers with bounds; `name` and `outside` complete its messages."""

    def parse(raw: Any) -> Any:
        try:
            value = convert(raw)
        except (TypeError, ValueError, OverflowError):
            raise BadValueError(f"is not {name}") from None
        if not least <= value <= most:
            raise BadValueError(f"is {outside}")
        return value

    return parse


read_rate: Final = number(float, "a number", 0.0, 1.0, "not between 0 and 1")
"""Parser of a share."""
read_seconds: Final = number(float, "a number of seconds", 0.0, 3600.0, "not between 0 and 3600 seconds")
read_count: Final = number(int, "a whole number", 1, _MOST, "not between 1 and 2**53")
read_bytes: Final = number(int, "a number of bytes", 1 << 20, _MOST, "not between 1048576 and 2**53 bytes")


def one_of(*words: str) -> Callable[[Any], Any]:
    """Return a parser that accepts one of these words."""

    def parse(raw: Any) -> Any:
        if isinstance(raw, str) and raw.strip().lower() in words:
            return raw.strip().lower()
        raise BadValueError("is not one of " + ", ".join(words))

    return parse


_KINDS = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})
_capture_mode = one_of("all", "metadata", "off")


def read_capture(raw: Any) -> Any:
    """Return one mode for every span, or modes by kind. A `*` stands for all other kinds."""
    if isinstance(raw, str):
        parts = (part.rpartition("=") for part in raw.split(","))
        pairs = [(kind if equals else "*", mode) for kind, equals, mode in parts]
    else:
        try:
            pairs = list(raw.items())
        except AttributeError:
            raise BadValueError("is not all, metadata or off, or one of these by kind") from None
    modes = {str(kind).strip().upper(): _capture_mode(mode) for kind, mode in pairs}
    unknown = sorted(modes.keys() - _KINDS - {"*"})
    if unknown:
        raise BadValueError(f"names the unknown kind {unknown[0]!r}; known kinds: {', '.join(sorted(_KINDS))} and *")
    return modes["*"] if "*" in modes and len(set(modes.values())) == 1 else modes


def read_spans(raw: Any) -> Any:
    """Return the caller's function, `agent` or `all`."""
    return raw if callable(raw) else one_of("agent", "all")(raw)


def read_scrub(raw: Any) -> Any:
    """Return True, False or `all`."""
    return "all" if isinstance(raw, str) and raw.strip().lower() == "all" else read_bool(raw)


def read_instrument(raw: Any) -> Any:
    """Return `auto`, False, or names of libraries."""
    word = str(raw).strip().lower() if isinstance(raw, bool | str) else ""
    if word == "auto" or word in _TRUE:
        return "auto"
    return False if word in _FALSE else read_names(raw)


def read_names(raw: Any) -> tuple[str, ...]:
    """Return names, given as a list or separated by commas."""
    parts = raw.split(",") if isinstance(raw, str) else raw
    try:
        names = tuple(part.strip() for part in parts)
    except (TypeError, AttributeError):
        raise BadValueError("is not a list of names") from None
    return tuple(name for name in names if name)


def read_anything(raw: Any) -> Any:
    """Return the value unchanged; it is checked later."""
    return raw


# -- OpenTelemetry's own variables ------------------------------------------------------------------------------------

_PROVIDERS: Final = {
    f"OTEL_PYTHON_{kind.upper()}": f"opentelemetry_{kind}"
    for kind in ("tracer_provider", "logger_provider", "meter_provider")
}
"""Variables that name an entry point, with its group. OpenTelemetry raises StopIteration for an unknown name."""
_LIMITS: Final = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)
_LARGEST_LIMIT: Final = (1 << 31) - 1


def unusable(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables whose values make OpenTelemetry's SDK raise, each with the fault.

    OpenTelemetry's specification wants a warning, and the default.
    """
    for name in _LIMITS:
        value = env.get(name, "").strip()
        if value and not _is_limit(value):
            yield name, f"is not a whole number from 0 to {_LARGEST_LIMIT}"
    for name, group in _PROVIDERS.items():
        if name in env:
            from importlib.metadata import entry_points

            if not entry_points(group=group, name=env[name]):
                yield name, "is not the name of an installed provider"


def _is_limit(value: str) -> bool:
    try:
        return 0 <= int(value) <= _LARGEST_LIMIT
    except ValueError:
        return False


def otel_disabled(env: Mapping[str, str]) -> tuple[bool, str] | None:
    """Return False as the value of `enabled` if OpenTelemetry as a whole is disabled, else None."""
    # OpenTelemetry's specification accepts only "true" for boolean variables.
    return (False, "OTEL_SDK_DISABLED") if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else None


def otel_resource(*keys: str) -> Callable[[Mapping[str, str]], tuple[str, str] | None]:
    """Return a function that reads the first of these resource attributes that is set."""

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


def otel_service_name(env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the service name from its own variable, else from the resource attribute."""
    if env.get("OTEL_SERVICE_NAME", "").strip():
        return env["OTEL_SERVICE_NAME"].strip(), "OTEL_SERVICE_NAME"
    return otel_resource("service.name")(env)
