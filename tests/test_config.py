"""Settings: their sources, and the messages about bad values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.config.settings import SETTINGS

NO_FILE = Path("/nonexistent/config.yaml")
GOOD_KEY = "sk_pp_" + "0a" * 32


def resolve(arguments: dict[str, object] | None = None, file: Path = NO_FILE, **env: Any) -> Config:
    """Resolve the settings from these arguments, variables and file only."""
    return Config.resolve(arguments, environ=env, file=file)


def test_an_argument_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    """Every setting follows this order of precedence, and each value keeps its source."""
    file = tmp_path / "config.yaml"
    file.write_text("api_key: sk_pp_file\nproject: from-file\nendpoint: https://file.example\n", encoding="utf-8")
    config = resolve(
        {"api_key": "sk_pp_argument"}, file, PANDAPROBE_API_KEY="sk_pp_env", PANDAPROBE_PROJECT_NAME="from-env"
    )

    assert (config.api_key, config.sources["api_key"]) == ("sk_pp_argument", "argument api_key")
    assert (config.project_name, config.sources["project_name"]) == ("from-env", "PANDAPROBE_PROJECT_NAME")
    assert config.endpoint == "https://file.example"
    assert "config.yaml" in config.sources["endpoint"]
    assert (config.sample_rate, config.sources["sample_rate"]) == (1.0, "default")
    assert config.problems == ()


def test_opentelemetrys_own_variables_are_read_after_ours() -> None:
    """Environment and release come from the resource attributes unless our own variables are set."""
    attributes = "service.version=1.2,deployment.environment.name=staging,service.name=shop"
    config = resolve(OTEL_RESOURCE_ATTRIBUTES=attributes, PANDAPROBE_RELEASE="2.0", PANDAPROBE_API_KEY=GOOD_KEY)

    assert (config.environment, config.release, config.service_name) == ("staging", "2.0", "shop")
    assert config.sources["environment"] == "OTEL_RESOURCE_ATTRIBUTES (deployment.environment.name)"


def test_the_sdk_switched_off_switches_us_off() -> None:
    """Only OTEL_SDK_DISABLED=true switches us off, as the specification says."""
    assert not resolve(OTEL_SDK_DISABLED="True", PANDAPROBE_API_KEY=GOOD_KEY).enabled
    assert resolve(OTEL_SDK_DISABLED="1", PANDAPROBE_API_KEY=GOOD_KEY).enabled


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "set PANDAPROBE_API_KEY"),
        ({"PANDAPROBE_API_KEY": "your-api-key"}, "PANDAPROBE_API_KEY holds a placeholder"),
        ({"PANDAPROBE_API_KEY": "sk_pp_..."}, "PANDAPROBE_API_KEY holds a placeholder"),
        ({"PANDAPROBE_API_KEY": GOOD_KEY, "PANDAPROBE_ENDPOINT": "api.pandaprobe.com"}, "PANDAPROBE_ENDPOINT"),
        ({"PANDAPROBE_API_KEY": GOOD_KEY, "PANDAPROBE_ENDPOINT": "http://[::1"}, "PANDAPROBE_ENDPOINT"),
        ({"PANDAPROBE_API_KEY": GOOD_KEY, "PANDAPROBE_ENDPOINT": "https://u:p@x.example"}, "PANDAPROBE_ENDPOINT"),
        ({"PANDAPROBE_API_KEY": "sk_pp_secret with spaces"}, "PANDAPROBE_API_KEY"),
    ],
)
def test_unusable_settings_stop_sending_and_name_the_variable(env: dict[str, Any], words: str) -> None:
    """Unusable settings stop sending, and the message names the variable to fix."""
    config = resolve(**env)

    assert not config.usable
    messages = " ".join(problem.message for problem in config.problems)
    assert words in messages
    assert "secret" not in messages


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("PANDAPROBE_SAMPLE_RATE", "ten", 1.0),
        ("PANDAPROBE_SAMPLE_RATE", "1.5", 1.0),
        ("PANDAPROBE_ENABLED", "maybe", True),
        ("PANDAPROBE_CAPTURE", "some", "off"),
        ("PANDAPROBE_SPANS", "few", "agent"),
        ("PANDAPROBE_SHUTDOWN_TIMEOUT", "soon", 5.0),
        ("PANDAPROBE_MAX_QUEUE_BYTES", "7", 64 << 20),
    ],
)
def test_a_bad_value_is_named_and_the_default_used(name: str, value: str, default: object) -> None:
    """A bad number does not disable tracing, unlike in the official SDK; a bad `capture` fails closed."""
    env: dict[str, Any] = {"PANDAPROBE_API_KEY": GOOD_KEY, name: value}
    config = resolve(**env)
    setting = next(setting for setting in SETTINGS if setting.env == name)

    assert config.usable
    assert getattr(config, setting.name) == default
    (problem,) = config.problems
    assert name in problem.message
    assert repr(value) in problem.message


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://", "redis"])
def test_an_address_of_no_redis_is_named_and_its_password_is_not(url: str) -> None:
    """The message names the variable without the refused address, which may contain a password."""
    config = resolve(PANDAPROBE_API_KEY=GOOD_KEY, PANDAPROBE_REDIS_URL=url)
    (problem,) = config.problems
    assert config.usable
    assert config.redis_url is None
    assert "PANDAPROBE_REDIS_URL = (not shown) is not the address of a Redis" in problem.message
    assert resolve(PANDAPROBE_API_KEY=GOOD_KEY, PANDAPROBE_REDIS_URL="rediss://u:p@host:6380/1").problems == ()


@pytest.mark.parametrize(
    "url",
    ["http://user:hunter2@host", "http://u:hun@/ter2@host/x", "http://host/?token=hunter2", "https://host/#hunter2"],
)
def test_an_endpoint_with_a_secret_is_named_without_it(url: str) -> None:
    """The message about a refused address does not repeat its password or token."""
    config = resolve(PANDAPROBE_API_KEY=GOOD_KEY, PANDAPROBE_ENDPOINT=url)

    (problem,) = config.problems
    assert "PANDAPROBE_ENDPOINT = 'http" in problem.message
    assert "host" in problem.message
    assert "ter2" not in problem.message


def test_a_redis_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package redis, the message names the extra to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    (problem,) = resolve(PANDAPROBE_API_KEY=GOOD_KEY, PANDAPROBE_REDIS_URL="redis://host").problems
    assert "pip install 'pandaprobe-otel[redis]'" in problem.message


def test_a_local_endpoint_needs_no_key() -> None:
    """A local PandaProbe may accept requests without a key, and no key is made up for it."""
    config = resolve(PANDAPROBE_ENDPOINT="http://localhost:8000/")

    assert (config.api_key, config.endpoint, config.usable) == ("", "http://localhost:8000", True)


def test_a_broken_file_is_ignored_and_named(tmp_path: Path) -> None:
    """A file that is not YAML is reported and ignored, and the app starts."""
    file = tmp_path / "config.yaml"
    file.write_text("a: [", encoding="utf-8")
    config = resolve(file=file, PANDAPROBE_API_KEY=GOOD_KEY)

    assert config.usable
    assert str(file) in config.problems[0].message


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("auto", "auto"), ("false", False), ("openai, anthropic", ("openai", "anthropic")), ("", "auto")],
)
def test_instrument_is_auto_off_or_a_list(raw: str, expected: object) -> None:
    """The variable has the same three forms as the argument."""
    assert resolve(PANDAPROBE_INSTRUMENT=raw, PANDAPROBE_API_KEY=GOOD_KEY).instrument == expected
