"""Garbage in every setting, from every source: one problem names it, and the app runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from garbage import FILES, TEXTS, VALUES
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.config.settings import SETTINGS
from subprocesses import environment, run_python

NO_FILE: Final = Path("/nonexistent/config.yaml")
SUPPORT: Final = Path(__file__).parent / "support"
GOOD_KEY: Final = "sk_pp_" + "0a" * 32
NOWHERE: Final = "http://127.0.0.1:9"


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "9" * 20),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "1.5"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "garbage"),
        ("OTEL_PYTHON_LOGGER_PROVIDER", "garbage"),
        ("OTEL_PYTHON_METER_PROVIDER", "garbage"),
    ],
)
def test_a_variable_that_breaks_opentelemetry_is_named_once_and_ignored(tmp_path: Path, name: str, value: str) -> None:
    """The app is traced with OpenTelemetry's default, and one line names the variable."""
    code = """
    with pandaprobe_otel.agent("a"):
        with tracer.start_as_current_span("b"):
            pass
    handle.shutdown()
    print(handle.status().spans_delivered)
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"), **{name: value}))
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr[-2000:]
    assert result.stderr.count(f"{name} = ") == 1


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
