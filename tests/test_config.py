"""Settings: their sources, and the messages about bad values; with any garbage, the app runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from garbage import FILES, TEXTS, VALUES
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.config.settings import SETTINGS
from subprocesses import environment, run_python

NO_FILE = Path("/nonexistent/config.yaml")
GOOD_KEY = "sk_pp_" + "0a" * 32
SUPPORT: Final = Path(__file__).parent / "support"
NOWHERE: Final = "http://127.0.0.1:9"


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
        ({"PANDAPROBE_API_KEY": "sk_pp_..."}, "PANDAPROBE_API_KEY holds a placeholder"),
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


def sources() -> Iterator[tuple[str, Config]]:
    """Yield the settings with one piece of garbage each, and the name of its setting."""
    good = {"PANDAPROBE_API_KEY": GOOD_KEY, "PANDAPROBE_ENDPOINT": NOWHERE}
    for setting in SETTINGS:
        for value in (*TEXTS, *VALUES):
            yield setting.name, Config.resolve({setting.name: value}, environ=good, file=NO_FILE)
        if setting.env:
            for text in TEXTS:
                yield setting.name, Config.resolve({}, environ={**good, setting.env: text}, file=NO_FILE)


def test_no_garbage_in_an_argument_or_a_variable_is_more_than_one_problem() -> None:
    """Resolving never raises, and names the setting in at most one problem of bounded length."""
    for name, config in sources():
        named = [problem for problem in config.problems if problem.setting == name]
        assert len(named) <= 2 if name == "api_key" else len(named) <= 1, (name, named)
        assert all(len(problem.message) < 500 for problem in named)


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_no_garbage_in_the_file_raises(tmp_path: Path, text: str) -> None:
    """A configuration file with anything in it is read, or is one problem."""
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    Config.resolve({}, environ={"PANDAPROBE_ENDPOINT": NOWHERE}, file=file)


def test_the_app_runs_with_any_garbage(tmp_path: Path) -> None:
    """`init()`, an agent, `flush()`, `status()` and `shutdown()` work with each piece of garbage in each argument."""
    code = f"""
    import logging, os, sys
    sys.path.insert(0, {os.fspath(SUPPORT)!r})
    os.chdir({os.fspath(tmp_path)!r})
    from garbage import TEXTS, VALUES
    from pandaprobe_otel import agent, init
    logging.disable(logging.CRITICAL)
    tried = 0
    arguments = init.__code__.co_varnames[: init.__code__.co_kwonlyargcount]
    for name in arguments:
        if name in ("strict", "instrument", "exclude", "tracer_provider"):
            continue
        for value in (*TEXTS, *VALUES):
            for wait_s, more in ((0.0, {{}}), (5.0, {{"local": "traces.jsonl"}})):
                handle = init(**{{"instrument": False, **more, name: value}})
                with agent("a", input="in"):
                    pass
                handle.flush(wait_s)
                handle.status()
                handle.shutdown(wait_s)
                tried += 1
    print(tried > 1000)
    """
    result = run_python(code, environment(NOWHERE), set_up=False)
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr[-2000:]


def test_variables_that_break_opentelemetry_are_named_once_and_ignored(tmp_path: Path) -> None:
    """The app is traced with OpenTelemetry's defaults, and one line names each variable."""
    bad = {
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "9" * 20,
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-5",
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "1.5",
        "OTEL_PYTHON_TRACER_PROVIDER": "garbage",
        "OTEL_PYTHON_LOGGER_PROVIDER": "garbage",
        "OTEL_PYTHON_METER_PROVIDER": "garbage",
    }
    code = """
    with pandaprobe_otel.agent("a"):
        with tracer.start_as_current_span("b"):
            pass
    handle.shutdown()
    print(handle.status().spans_delivered)
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"), **bad))
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr[-2000:]
    assert {name: result.stderr.count(f"{name} = ") for name in bad} == dict.fromkeys(bad, 1)


def test_a_provider_that_cannot_be_found_leaves_an_untraced_app_alone() -> None:
    """Without a key, a decorated function runs, whatever OTEL_PYTHON_TRACER_PROVIDER names."""
    code = "import pandaprobe_otel\n@pandaprobe_otel.tool\ndef one(): return 1\nprint(one())"
    environ = environment(OTEL_PYTHON_TRACER_PROVIDER="garbage")
    result = run_python(code, environ, set_up=False)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr[-2000:]


def test_a_refused_project_name_sends_nothing() -> None:
    """No project receives the traces that were meant for another one."""
    config = Config.resolve({"project_name": "team/a"}, environ={"PANDAPROBE_API_KEY": GOOD_KEY}, file=NO_FILE)

    assert not config.usable
    (problem,) = config.problems
    assert problem.message.startswith("argument project_name = 'team/a' is not a project name")
    assert problem.message.endswith("no traces are sent.")
