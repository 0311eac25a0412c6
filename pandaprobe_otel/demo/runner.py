"""The demonstration from end to end: run the agent, read its traces, and compare them with its actions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.demo.quickstart_run import quickstart_environment, reach_loopback_directly, run_quickstart
from pandaprobe_otel.demo.readback import read_session, wait_until
from pandaprobe_otel.demo.record_comparison import Check, check_session
from pandaprobe_otel.demo.recorded_turns import Turn, turns_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.demo.shop_script import shop_script
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport

_PROJECT: Final = "demo"
_VISIBLE_WITHIN_S: Final = 20.0
"""Seconds to wait for traces. A trace is readable about half a second after the server accepted it, or after more than
10 s if there is a backlog.
"""
_SECONDS_PER_CHUNK: Final = 0.02
"""Seconds per chunk: slow enough that streaming is visible and that the first token comes before the last."""


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
class Demonstration:
    """The result: the turns as the endpoint recorded them, the traces as read back, and the comparison."""

    exit_code: int
    session_id: str | None
    turns: Sequence[Turn]
    traces: Sequence[Mapping[str, Any]]
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """True if the agent ran to its end and the traces match its actions."""
        return self.exit_code == 0 and bool(self.checks) and all(check.ok for check in self.checks)


@contextmanager
def local_target() -> Generator[Target]:
    """Run a PandaProbe in this process, with its data in memory, for the duration of the block."""
    from pandaprobe_otel.local import LocalServer

    reach_loopback_directly()
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
    """Run the quickstart against `target` and compare. `show` gets the program's output while it is running."""
    reach_loopback_directly()
    with ScriptedEndpoint(shop_script, seconds_per_chunk=_SECONDS_PER_CHUNK) as endpoint:
        environment = quickstart_environment(os.environ, model_url=endpoint.base_url, pandaprobe=target.variables)
        run = run_quickstart(environment, show=show)
        turns = turns_of(endpoint.exchanges)
    traces: list[dict[str, Any]] = []
    checks: list[Check] = []
    if run.exit_code == 0 and run.session_id is not None:
        traces = _read_back(target, turns, run.session_id)
        checks = check_session(turns, traces, run.session_id)
    return Demonstration(exit_code=run.exit_code, session_id=run.session_id, turns=turns, traces=traces, checks=checks)


def _read_back(target: Target, turns: Sequence[Turn], session_id: str) -> list[dict[str, Any]]:
    transport = HttpTransport(target.endpoint, api_key_headers(target.api_key, target.project_name))

    def complete(traces: list[dict[str, Any]]) -> bool:
        return all(check.ok for check in check_session(turns, traces, session_id))

    try:
        return wait_until(
            lambda: read_session(transport, session_id),
            complete,
            timeout_s=_VISIBLE_WITHIN_S,
            clock=time.monotonic,
            sleep=time.sleep,
        )
    finally:
        transport.close()
