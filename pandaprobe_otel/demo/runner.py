"""The demonstration from end to end: run `examples/quickstart.py` with a scripted model, and read its traces back.

The example runs as a user would start it: in a separate process, with environment variables only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.demo.scripts import shop_script
from pandaprobe_otel.errors import ConfigError, NotFound

_PROJECT: Final = "demo"
_TIMEOUT_S: Final = 120.0
"""Timeout. A run takes about two seconds, so a run that exceeds this hangs and is reported as a fault."""
_VISIBLE_WITHIN_S: Final = 20.0
"""Seconds to wait for traces. A trace is readable about half a second after the server accepted it, or after more than
10 s if there is a backlog.
"""
_SECONDS_PER_CHUNK: Final = 0.02
"""Seconds per chunk: slow enough that streaming is visible and that the first token comes before the last."""
_NO_PROXY: Final = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The PandaProbe that the demonstration uses."""

    endpoint: str
    api_key: str
    project_name: str
    local: bool

    @property
    def variables(self) -> dict[str, str]:
        """The settings of the traced program, as environment variables."""
        return {
            "PANDAPROBE_ENDPOINT": self.endpoint,
            "PANDAPROBE_API_KEY": self.api_key,
            "PANDAPROBE_PROJECT_NAME": self.project_name,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartRun:
    """A finished run. `session_id` is None if the program did not print it."""

    exit_code: int
    session_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """The result: the run, the number of model calls that the endpoint answered, and the traces as read back."""

    run: QuickstartRun
    model_calls: int
    traces: Sequence[Mapping[str, Any]]

    @property
    def ok(self) -> bool:
        """True if the agent ran to its end and its traces have all model calls."""
        return self.run.exit_code == 0 and self.run.session_id is not None and _calls(self.traces) == self.model_calls

    @property
    def fault(self) -> str | None:
        """The reason why it failed; None if it did not."""
        if self.run.exit_code != 0:
            return f"the agent ended with exit code {self.run.exit_code}"
        if self.run.session_id is None:
            return "the agent did not set a session id"
        return None if self.ok else f"{_calls(self.traces)} of {self.model_calls} model calls came back"


@contextmanager
def local_target() -> Generator[Target]:
    """Run a PandaProbe in this process, with its data in memory, for the duration of the block."""
    from pandaprobe_otel.local import LocalServer

    _reach_loopback_directly()
    with LocalServer(db=":memory:", port=0) as server:
        yield Target(endpoint=server.url, api_key=server.api_key, project_name=_PROJECT, local=True)


def cloud_target(config: Config) -> Target:
    """Return the PandaProbe of the user's settings. Raises ConfigError if they are not enough to send traces."""
    fatal = [problem.message for problem in config.problems if problem.fatal]
    if fatal or config.fixed_key is None:
        raise ConfigError("--cloud needs complete settings: " + " ".join(fatal))
    return Target(
        endpoint=config.endpoint, api_key=config.fixed_key, project_name=config.project_name, local=config.is_local
    )


def demonstrate(target: Target, *, show: Callable[[str], object]) -> Demonstration:
    """Run the quickstart against `target`, and read its traces. `show` gets the program's output while it is running.

    Raises the errors of the API's client if the traces cannot be read.
    """
    _reach_loopback_directly()
    with ScriptedEndpoint(shop_script, seconds_per_chunk=_SECONDS_PER_CHUNK) as endpoint:
        environment = quickstart_environment(os.environ, model_url=endpoint.base_url, pandaprobe=target.variables)
        run = run_quickstart(environment, show=show)
        model_calls = len(endpoint.exchanges)
    ended = run.exit_code == 0 and run.session_id is not None
    traces = _read_back(target, str(run.session_id), model_calls) if ended else []
    return Demonstration(run=run, model_calls=model_calls, traces=traces)


def _read_back(target: Target, session_id: str, model_calls: int) -> list[dict[str, Any]]:
    """Return the traces of the session, as soon as they have all model calls or after the longest wait."""
    from pandaprobe_otel.api import Client

    with Client(target.api_key, target.project_name, target.endpoint) as client:
        end = time.monotonic() + _VISIBLE_WITHIN_S
        while True:
            traces = _session(client, session_id)
            if _calls(traces) == model_calls or time.monotonic() >= end:
                return traces
            time.sleep(0.3)  # The server allows 200 requests a minute for one path.


def _session(client: Any, session_id: str) -> list[dict[str, Any]]:
    try:
        traces = client.sessions.get(session_id, limit=200).traces
    except NotFound:  # The server does not know the session yet.
        return []
    return sorted((trace.model_dump(mode="json") for trace in traces), key=lambda trace: str(trace["started_at"]))


def _calls(traces: Sequence[Mapping[str, Any]]) -> int:
    return sum(span["kind"] == "LLM" for trace in traces for span in trace["spans"])


# -- the example -------------------------------------------------------------------------------------------------------


def quickstart_path() -> Path:
    """Return the path of the example: beside this module in the wheel, in `examples/` in a checkout."""
    packaged = Path(__file__).with_name("quickstart.py")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "examples" / "quickstart.py"


def quickstart_environment(
    current: Mapping[str, str], *, model_url: str, pandaprobe: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of the run: those of the scripted model, and `pandaprobe` in place of all PandaProbe
    settings.

    OpenTelemetry's variables are removed too, so that the demonstration is the same on every machine.
    """
    kept = {name: value for name, value in current.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    return {
        **kept,
        **_without_proxy(current),
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "sk-scripted",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **pandaprobe,
    }


def run_quickstart(environment: Mapping[str, str], *, show: Callable[[str], object]) -> QuickstartRun:
    """Run the example until it has ended and delivered its traces. `show` gets its output piece by piece.

    Its standard error is that of this process. A run that takes longer than two minutes is killed (exit code -9).
    """
    with subprocess.Popen(
        [sys.executable, str(quickstart_path())],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        watchdog = threading.Timer(_TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            output = _relay(process, show)
        finally:
            watchdog.cancel()
    found = re.search(r"^Session:\s+(\S+)", output, re.MULTILINE)
    return QuickstartRun(exit_code=process.returncode, session_id=found[1] if found else None)


def _relay(process: subprocess.Popen[str], show: Callable[[str], object]) -> str:
    output: list[str] = []
    assert process.stdout is not None
    while piece := process.stdout.read(1):  # character by character, so that streaming is visible
        show(piece)
        output.append(piece)
    return "".join(output)


def _reach_loopback_directly() -> None:
    """Exclude this process's requests to loopback addresses from a proxy in the environment."""
    os.environ.update(_without_proxy(os.environ))


def _without_proxy(current: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that exclude loopback addresses from a proxy."""
    names = ("NO_PROXY", "no_proxy")
    return {name: ",".join(part for part in (current.get(name, ""), _NO_PROXY) if part) for name in names}
