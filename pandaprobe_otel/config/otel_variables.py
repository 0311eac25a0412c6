"""Settings that OpenTelemetry's own variables define; each is returned with the name of its variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping


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
