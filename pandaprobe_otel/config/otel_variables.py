"""Settings that OpenTelemetry has variables of its own for; each with the name of the variable that it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def otel_disabled(env: Mapping[str, str]) -> tuple[bool, str] | None:
    """Whether OpenTelemetry is switched off as a whole."""
    # Only "true" counts, by OpenTelemetry's specification of boolean variables.
    return (False, "OTEL_SDK_DISABLED") if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" else None


def otel_resource(*keys: str) -> Callable[[Mapping[str, str]], tuple[str, str] | None]:
    """What reads the first of these attributes of the resource."""

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
    """The name of the service, by its own variable before the resource's attribute."""
    if env.get("OTEL_SERVICE_NAME", "").strip():
        return env["OTEL_SERVICE_NAME"].strip(), "OTEL_SERVICE_NAME"
    return otel_resource("service.name")(env)
