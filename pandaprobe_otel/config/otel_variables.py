"""Settings that OpenTelemetry's own variables define; each is returned with the name of its variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

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
